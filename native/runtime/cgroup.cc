#include "cgroup.h"

#include <cstdio>
#include <cstring>
#include <limits>

namespace drivetrain {
namespace {

constexpr double kUnlimited = std::numeric_limits<double>::infinity();

// The numbers at the beginning of a file, at most two; returns how many there are.
int read_numbers(const std::string& path, double* first, double* second) {
  FILE* file = std::fopen(path.c_str(), "r");
  if (file == nullptr) return 0;
  const int count = std::fscanf(file, "%lf %lf", first, second);
  std::fclose(file);
  return count < 0 ? 0 : count;
}

// cpu.max holds "quota period" in microseconds, or "max period".
double quota_v2(const std::string& group) {
  double quota, period;
  return read_numbers(group + "/cpu.max", &quota, &period) == 2 && period > 0 ? quota / period : kUnlimited;
}

// A quota of -1 is none.
double quota_v1(const std::string& group) {
  double quota, period, none;
  if (read_numbers(group + "/cpu.cfs_quota_us", &quota, &none) < 1 || quota <= 0) return kUnlimited;
  if (read_numbers(group + "/cpu.cfs_period_us", &period, &none) < 1 || period <= 0) return kUnlimited;
  return quota / period;
}

// The least quota from `path` up to the mount itself. Groups that are not there are passed over: inside a
// container the path may be the host's, and the mount the container's own group.
double least_quota(const std::string& mount, std::string path, double (*quota)(const std::string&)) {
  double least = kUnlimited;
  while (true) {
    const double here = quota(mount + path);
    if (here < least) least = here;
    if (path.empty()) return least;
    path.erase(path.rfind('/'));
  }
}

bool has_cpu(const std::string& controllers) {
  return ("," + controllers + ",").find(",cpu,") != std::string::npos;
}

}  // namespace

double cgroup_processors(const std::string& root) {
  double least = kUnlimited;
  FILE* file = std::fopen((root + "/proc/self/cgroup").c_str(), "r");
  if (file == nullptr) return least;
  char text[4096];
  while (std::fgets(text, sizeof text, file)) {
    // id:controllers:path, "0::path" in version 2.
    text[std::strcspn(text, "\n")] = '\0';
    char* const controllers = std::strchr(text, ':');
    char* const path = controllers ? std::strchr(controllers + 1, ':') : nullptr;
    if (path == nullptr || path[1] != '/') continue;
    *path = '\0';
    const std::string group = path[2] == '\0' ? "" : path + 1;
    const bool is_v2 = std::strncmp(text, "0::", 2) == 0 && controllers[1] == '\0';
    if (!is_v2 && !has_cpu(controllers + 1)) continue;
    const std::string mount = root + (is_v2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/cpu");
    const double quota = least_quota(mount, group, is_v2 ? quota_v2 : quota_v1);
    if (quota < least) least = quota;
  }
  std::fclose(file);
  return least;
}

}  // namespace drivetrain
