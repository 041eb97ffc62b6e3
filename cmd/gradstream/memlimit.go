package main

import (
	"io/fs"
	"math"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
)

// memoryLimit returns the least memory limit that control groups set on this
// process, in bytes, 0 if there is none. Root is the file system.
func memoryLimit(root fs.FS) int64 {
	least := int64(0)
	note := func(file string) {
		b, err := fs.ReadFile(root, file)
		if err != nil {
			return
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
		if err != nil || n <= 0 || n >= 1<<60 { // "max"; version 1 has a very large number for none
			return
		}
		if least == 0 || n < least {
			least = n
		}
	}
	groups, _ := fs.ReadFile(root, "proc/self/cgroup")
	paths := map[string]string{"": "/", "memory": "/"}
	for line := range strings.Lines(string(groups)) {
		if f := strings.SplitN(strings.TrimSpace(line), ":", 3); len(f) == 3 {
			for c := range strings.SplitSeq(f[1], ",") {
				if _, ok := paths[c]; ok {
					paths[c] = path.Clean("/" + f[2])
				}
			}
		}
	}
	for c, file := range map[string]string{"": "memory.max", "memory": "memory/memory.limit_in_bytes"} {
		dir, name := path.Join("sys/fs/cgroup", path.Dir(file)), path.Base(file)
		for p := paths[c]; ; p = path.Dir(p) { // a group obeys those it lies in
			note(path.Join(dir, p, name))
			if p == "/" {
				break
			}
		}
	}
	return least
}

// collectAt is how much the heap grows, in percent of what is live, before it is
// collected. Most of what is live are the columns, tables and buffers of a task, in
// which there is nothing to follow: to collect more than twice as often as Go does by
// itself costs little time and saves a third of the memory.
const collectAt = 40

// limitMemory tells the garbage collector of the limit that the process has to
// keep to, 90 % of it, unless GOMEMLIMIT does, and when to collect, unless GOGC does.
func (a *app) limitMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectAt)
	}
	if os.Getenv("GOMEMLIMIT") != "" {
		if a.memory = debug.SetMemoryLimit(-1); a.memory == math.MaxInt64 { // off
			a.memory = 0
		}
		return
	}
	if n := memoryLimit(os.DirFS("/")); n > 0 {
		a.memory = n / 10 * 9
		debug.SetMemoryLimit(a.memory)
		a.log.Info("memory limit of the control group", "bytes", n, "used_up_to", a.memory)
	}
}

// How much a task's feed buffers.
const (
	mostFeed  = 1 << 20
	leastFeed = 256 << 10
)

// feedBytes shares a quarter of the memory among the feeds of so many tasks, as
// far as they want it.
func feedBytes(memory int64, tasks int) int {
	if memory <= 0 {
		return mostFeed
	}
	return int(min(mostFeed, max(leastFeed, memory/4/int64(max(tasks, 1)))))
}
