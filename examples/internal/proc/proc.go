// Package proc tells from /proc what a process and those below it use: time of
// the processors, and memory. Linux only.
package proc

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// clockTicks is the kernel's USER_HZ, 100 on every architecture that Go runs
// Linux on.
const clockTicks = 100

// stat is what /proc/PID/stat tells of a process.
type stat struct {
	parent int
	own    int64 // ticks of user and system time
	ticks  int64 // the same, with those of the children it has waited for
}

func readStat(pid int) (stat, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	// The name of the program, in parentheses, may hold anything.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 15 {
		return stat{}, fmt.Errorf("/proc/%d/stat is short", pid)
	}
	var s stat
	if s.parent, err = strconv.Atoi(fields[1]); err != nil {
		return stat{}, err
	}
	for i, f := range fields[11:15] {
		ticks, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return stat{}, err
		}
		if s.ticks += ticks; i == 1 {
			s.own = s.ticks
		}
	}
	return s, nil
}

// descendants are roots and the processes below them. Those that end meanwhile
// are left out.
func descendants(roots []int) ([]int, error) {
	paths, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	children := map[int][]int{}
	for _, p := range paths {
		pid, err := strconv.Atoi(filepath.Base(p))
		if err != nil {
			continue
		}
		if s, err := readStat(pid); err == nil {
			children[s.parent] = append(children[s.parent], pid)
		}
	}
	all := slices.Clone(roots)
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all, nil
}

// Parent returns the process that started another.
func Parent(pid int) (int, error) {
	s, err := readStat(pid)
	return s.parent, err
}

// Own is the processor time that a process has used, without its children.
func Own(pid int) (time.Duration, error) {
	s, err := readStat(pid)
	return time.Duration(s.own) * time.Second / clockTicks, err
}

// CPU is the processor time that roots and their descendants have used, also
// those that have ended.
func CPU(roots ...int) (time.Duration, error) {
	for _, root := range roots {
		if _, err := readStat(root); err != nil {
			return 0, fmt.Errorf("the server has ended: %w", err)
		}
	}
	processes, err := descendants(roots)
	if err != nil {
		return 0, err
	}
	var ticks int64
	for _, pid := range processes {
		if s, err := readStat(pid); err == nil {
			ticks += s.ticks
		}
	}
	return time.Duration(ticks) * time.Second / clockTicks, nil
}

// PSS is the memory of roots and their descendants in bytes, shared pages
// counted once.
func PSS(roots ...int) (int64, error) {
	processes, err := descendants(roots)
	if err != nil {
		return 0, err
	}
	return pssOf(processes), nil
}

func pssOf(processes []int) int64 {
	var sum int64
	for _, pid := range processes {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			continue // it has ended
		}
		lines := strings.Split(string(text), "\n")
		i := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "Pss:") })
		if i < 0 {
			continue
		}
		if kb, err := strconv.ParseInt(strings.Fields(lines[i])[1], 10, 64); err == nil {
			sum += kb << 10
		}
	}
	return sum
}

// Memory watches the memory of processes and their descendants.
type Memory struct {
	ask  chan struct{}
	told chan int64
}

// WatchMemory looks at the memory of roots until it is told to stop.
func WatchMemory(roots ...int) *Memory {
	m := &Memory{ask: make(chan struct{}), told: make(chan int64)}
	go func() {
		var peak int64
		for {
			begin := time.Now()
			if now, err := PSS(roots...); err == nil {
				peak = max(peak, now)
			}
			// Looking is work on the same cores: at most a fiftieth of one.
			rest := time.NewTimer(max(50*time.Millisecond, 50*time.Since(begin)))
			select {
			case <-rest.C:
			case <-m.ask:
				rest.Stop()
				m.told <- peak
				return
			}
		}
	}()
	return m
}

// Stop returns the highest memory seen, in MB.
func (m *Memory) Stop() float64 {
	close(m.ask)
	return float64(<-m.told) / (1 << 20)
}
