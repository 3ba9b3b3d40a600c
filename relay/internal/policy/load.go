package policy

import (
	"context"
	"fmt"
	"math"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

// Limits say when the relay takes less mail; see the relay's Pressure.
type Limits struct {
	QueueMedium, QueueHigh   int64
	MemoryMedium, MemoryHigh int64
	DiskMedium, DiskHigh     int64
	Receiving                int64
}

// Level is a level of pressure.
type Level uint8

// The levels.
const (
	Normal Level = iota
	Medium
	High
)

var levelNames = [...]string{"normal", "medium", "high"}

// String returns normal, medium or high.
func (l Level) String() string {
	if l > High {
		return fmt.Sprintf("Level(%d)", uint8(l))
	}
	return levelNames[l]
}

// Load is what the resources looked like; -1 is unknown.
type Load struct {
	Level                              Level
	Queue, Memory, Disk                int64
	QueueLevel, MemoryLevel, DiskLevel Level
}

const (
	pollInterval = 2 * time.Second
	lookLimit    = time.Second // for the store: mail waits for the look
)

// Monitor looks at the resources. It has no goroutine: whoever brings mail
// looks when the last look is too long ago.
type Monitor struct {
	store  spool.Store
	level  atomic.Uint32
	next   atomic.Int64 // when to look again, in nanoseconds of the process's clock
	begun  time.Time
	mu     sync.Mutex
	load   Load
	limits Limits
}

// NewMonitor makes a monitor of a store, and of the memory of the process.
func NewMonitor(store spool.Store) *Monitor { return &Monitor{store: store, begun: time.Now()} }

// SetLimits sets the thresholds of a configuration, their defaults filled in.
func (m *Monitor) SetLimits(l Limits) {
	m.mu.Lock()
	m.limits = l
	m.mu.Unlock()
	m.next.Store(0)
}

// Current returns the level, looking at the resources if the last look is old.
func (m *Monitor) Current(ctx context.Context) Level {
	now := int64(time.Since(m.begun))
	if next := m.next.Load(); now >= next && m.next.CompareAndSwap(next, now+int64(pollInterval)) {
		ctx, cancel := context.WithTimeout(ctx, lookLimit)
		defer cancel()
		m.Look(ctx)
	}
	return Level(m.level.Load())
}

// Look looks at the resources now.
func (m *Monitor) Look(ctx context.Context) Load {
	l := Load{Queue: -1, Memory: goMemory(), Disk: -1}
	if stats, err := m.store.Stats(ctx); err == nil {
		l.Queue = stats.Deliveries
	}
	if g, ok := m.store.(spool.Gauge); ok {
		if free, err := g.Free(); err == nil {
			l.Disk = free
		}
	}
	m.mu.Lock() // not before: a store may take its time, and Reload must not
	defer m.mu.Unlock()
	p := m.limits
	l.QueueLevel = levelOf(l.Queue, p.QueueMedium, p.QueueHigh, m.load.QueueLevel)
	l.MemoryLevel = levelOf(l.Memory, p.MemoryMedium, p.MemoryHigh, m.load.MemoryLevel)
	if l.Disk >= 0 {
		l.DiskLevel = levelBelow(l.Disk, p.DiskMedium, p.DiskHigh, m.load.DiskLevel)
	}
	l.Level = max(l.QueueLevel, l.MemoryLevel, l.DiskLevel)
	m.load = l
	m.level.Store(uint32(l.Level))
	return l
}

// levelOf returns the level of a value that should be small, given the level
// before.
func levelOf(v, medium, high int64, before Level) Level {
	over := func(threshold int64, l Level) bool {
		if before >= l {
			threshold -= threshold / 10
		}
		return threshold > 0 && v >= threshold
	}
	switch {
	case over(high, High):
		return High
	case over(medium, Medium):
		return Medium
	}
	return Normal
}

// levelBelow is levelOf for a value that should be large.
func levelBelow(v, medium, high int64, before Level) Level {
	under := func(threshold int64, l Level) bool {
		if before >= l {
			threshold += threshold / 10
		}
		return threshold > 0 && v < threshold
	}
	switch {
	case under(high, High):
		return High
	case under(medium, Medium):
		return Medium
	}
	return Normal
}

// goMemory is what GOMEMLIMIT bounds.
func goMemory() int64 {
	samples := []metrics.Sample{
		{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"},
	}
	metrics.Read(samples)
	return int64(samples[0].Value.Uint64() - samples[1].Value.Uint64())
}

// DecideLoad refuses mail that there is no room for.
func DecideLoad(level Level, c Client) *Reply {
	if level == High || level == Medium && c.Stranger() {
		return NoRoom.Because(pressureError(level))
	}
	return nil
}

type pressureError Level

func (e pressureError) Error() string { return "relay: pressure is " + Level(e).String() }

// WithDefaults fills in the thresholds that are 0; -1 is off.
func (p Limits) WithDefaults() Limits {
	limit := debug.SetMemoryLimit(-1)
	if limit == math.MaxInt64 {
		limit = -1
	}
	for _, f := range []struct {
		value *int64
		def   int64
	}{
		{&p.QueueMedium, 500_000}, {&p.QueueHigh, 1_000_000},
		{&p.MemoryMedium, limit / 10 * 9}, {&p.MemoryHigh, limit / 20 * 19},
		{&p.DiskMedium, 256 << 20}, {&p.DiskHigh, 128 << 20},
		{&p.Receiving, 256 << 20},
	} {
		if *f.value == 0 {
			*f.value = f.def
		}
		if *f.value <= 0 {
			*f.value = -1
		}
	}
	return p
}
