package main

import (
	"testing"
	"testing/fstest"
)

func TestMemoryLimit(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	for _, c := range []struct {
		name string
		fs   fstest.MapFS
		want int64
	}{
		{"none", fstest.MapFS{}, 0},
		{"version 2 in a container", fstest.MapFS{"proc/self/cgroup": file("0::/\n"), "sys/fs/cgroup/memory.max": file("536870912\n")}, 512 << 20},
		{"version 2 without a limit", fstest.MapFS{"proc/self/cgroup": file("0::/\n"), "sys/fs/cgroup/memory.max": file("max\n")}, 0},
		{"version 2, the outer group has less", fstest.MapFS{"proc/self/cgroup": file("0::/user.slice/app.service\n"),
			"sys/fs/cgroup/user.slice/memory.max": file("1000000\n"), "sys/fs/cgroup/user.slice/app.service/memory.max": file("2000000\n")}, 1_000_000},
		{"version 1", fstest.MapFS{"proc/self/cgroup": file("11:cpu,cpuacct:/x\n7:memory:/docker/abc\n0::/\n"),
			"sys/fs/cgroup/memory/memory.limit_in_bytes": file("9223372036854771712\n"), "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": file("268435456\n")}, 256 << 20},
		{"no list of groups", fstest.MapFS{"sys/fs/cgroup/memory.max": file("4096\n")}, 4096},
		{"nonsense", fstest.MapFS{"sys/fs/cgroup/memory.max": file("-1\n"), "proc/self/cgroup": file("what\n::\n")}, 0},
	} {
		if got := memoryLimit(c.fs); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
	for _, c := range []struct {
		memory int64
		tasks  int
		want   int
	}{{0, 1, mostFeed}, {1 << 40, 64, mostFeed}, {256 << 20, 64, 1 << 20}, {64 << 20, 1000, leastFeed}, {8 << 20, 1, mostFeed}, {3 << 20, 1, 768 << 10}} {
		if got := feedBytes(c.memory, c.tasks); got != c.want {
			t.Errorf("%d tasks in %d bytes buffer %d each, want %d", c.tasks, c.memory, got, c.want)
		}
	}
}
