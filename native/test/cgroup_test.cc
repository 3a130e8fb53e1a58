#include "../runtime/cgroup.h"

#include <filesystem>
#include <fstream>
#include <string>

#include "harness.h"

namespace drivetrain::test {
namespace {

namespace fs = std::filesystem;

// A file system of its own, with the files of a process's control groups.
class Root {
 public:
  Root() {
    std::string name = (fs::temp_directory_path() / "drivetrain-cgroup-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~Root() { fs::remove_all(path_); }
  Root& file(const std::string& path, const std::string& text) {
    fs::create_directories((path_ + path).substr(0, (path_ + path).rfind('/')));
    std::ofstream(path_ + path) << text;
    return *this;
  }
  Root& groups(const std::string& text) { return file("/proc/self/cgroup", text); }
  Root& v2(const std::string& group, const std::string& max) {
    return file("/sys/fs/cgroup" + group + "/cpu.max", max);
  }
  Root& v1(const std::string& group, const std::string& quota) {
    file("/sys/fs/cgroup/cpu" + group + "/cpu.cfs_quota_us", quota);
    return file("/sys/fs/cgroup/cpu" + group + "/cpu.cfs_period_us", "100000\n");
  }
  void expect_processors(const char* what, double want) const {
    const double found = cgroup_processors(path_);
    expect(found == want, "%s: %g processors, want %g", what, found, want);
  }

 private:
  std::string path_;
};

constexpr double kUnlimited = std::numeric_limits<double>::infinity();

TEST(cgroup_quota_v2) {
  Root().expect_processors("no control groups", kUnlimited);
  Root().groups("0::/\n").expect_processors("a root without a file", kUnlimited);
  Root().groups("0::/\n").v2("", "max 100000\n").expect_processors("max", kUnlimited);
  Root().groups("0::/\n").v2("", "150000 100000\n").expect_processors("a container", 1.5);
  Root().groups("0::/a.service\n").v2("/a.service", "50000 100000\n").expect_processors("a service", 0.5);
  Root().groups("0::/ab\n").v2("/a", "50000 100000\n").expect_processors("another's", kUnlimited);
}

TEST(cgroup_quota_is_the_least_of_all_above) {
  Root()
      .groups("0::/a/b/c\n")
      .v2("/a", "max 100000\n")
      .v2("/a/b", "100000 100000\n")
      .v2("/a/b/c", "400000 100000\n")
      .expect_processors("an outer one", 1);
  Root()
      .groups("0::/a/b\n")
      .v2("/a", "400000 100000\n")
      .v2("/a/b", "300000 100000\n")
      .expect_processors("an inner one", 3);
  Root().groups("0::/docker/1\n").v2("", "200000 100000\n").expect_processors("a host's path", 2);
}

TEST(cgroup_quota_v1) {
  const char* groups = "12:pids:/elsewhere\n4:cpu,cpuacct:/a/b\n3:cpuset:/\n0::/\n";
  Root().groups(groups).v1("/a/b", "-1\n").expect_processors("none", kUnlimited);
  Root().groups(groups).v1("/a/b", "250000\n").v1("", "-1\n").expect_processors("its own", 2.5);
  Root().groups(groups).v1("/a/b", "250000\n").v1("/a", "100000\n").expect_processors("an outer one", 1);
  Root().groups(groups).v1("/elsewhere", "100000\n").expect_processors("of other groups", kUnlimited);
  Root().groups(groups).v1("", "200000\n").expect_processors("a host's path", 2);
  Root().groups("3:cpuset:/a\n").v1("/a", "100000\n").expect_processors("no cpu controller", kUnlimited);
}

TEST(cgroup_quota_of_files_that_make_no_sense) {
  for (const char* text : {"", "\n", "max\n", "100000\n", "100000 0\n", "words words\n", "100000 -1\n"})
    Root().groups("0::/\n").v2("", text).expect_processors(text, kUnlimited);
  for (const char* text : {"", "words\n", "0\n"})
    Root().groups("1:cpu:/\n").v1("", text).expect_processors(text, kUnlimited);
  for (const char* text : {"", "0\n", "0:\n", "0::\n", "::\n", ":::::\n", "0::relative\n"})
    Root().groups(text).v2("", "100000 100000\n").expect_processors(text, kUnlimited);
}

}  // namespace
}  // namespace drivetrain::test
