#include "../kernels/parallel.h"
