// cpu_quota.h: how much CPU time the cgroup grants, which the affinity mask does not tell.

#ifndef EVRING_RUNTIME_CPU_QUOTA_H_
#define EVRING_RUNTIME_CPU_QUOTA_H_

#include <string>

namespace evring {

// The CPUs' worth of time that the cgroups of this process allow, rounded up; 0 if they set no limit (or none can be
// read). cgroup v2: the least `cpu.max` from the process's group up to the root.
int CgroupCpuQuota();

// The same for a text of /proc/self/cgroup and a cgroup file system mounted at `root`.
int CgroupCpuQuota(const std::string& proc_self_cgroup, const std::string& root);

}  // namespace evring

#endif  // EVRING_RUNTIME_CPU_QUOTA_H_
