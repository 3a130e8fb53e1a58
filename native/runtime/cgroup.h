// What control groups (Linux) leave a process of the processors.
#pragma once
#include <string>

namespace drivetrain {

// How many processors' time the CPU quotas of this process's group, and of all groups above it, grant: the
// least of them, infinity where there is none. Version 2 and version 1, both where systems mount them
// (/sys/fs/cgroup). `root` is put before all paths.
double cgroup_processors(const std::string& root = "");

}  // namespace drivetrain
