package relay

import (
	"context"
	"fmt"
	"math"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern-mail/postern/relay/internal/smtpd"
	"github.com/postern-mail/postern/relay/spool"
)

// Pressure says when the relay is short of something and takes less mail.
//
// At medium pressure strangers are refused: anonymous clients without the right
// to relay. At high pressure everybody is, Submit included. The reply is 452
// 4.3.1, so that clients try again. The level goes down again only when the
// value has fallen a tenth below the threshold, so that it does not flap.
//
// Each threshold that is 0 has its default; a negative one is off. Where
// Exchange counts percentages of a disk, free bytes are counted here: one per
// cent of a modern disk holds a million messages.
type Pressure struct {
	// QueueMedium and QueueHigh are numbers of deliveries in the queue. They
	// default to 500,000 and 1,000,000.
	QueueMedium, QueueHigh int64
	// MemoryMedium and MemoryHigh are bytes of the process's Go memory. They
	// default to nine tenths and nineteen twentieths of GOMEMLIMIT, without
	// which they are off.
	MemoryMedium, MemoryHigh int64
	// DiskMedium and DiskHigh are bytes free on the spool's disk, if the spool
	// can tell. They default to 256 MiB and 128 MiB.
	DiskMedium, DiskHigh int64
	// Receiving is how many bytes of memory the messages being received may
	// take up, all together. Each counts 64 KiB, its content between 16 and 128
	// KiB, and, as long as a quarter of all is left to others, its recipients
	// beyond 20 and sixteen times its header beyond 8 KiB. Further ones are
	// refused, whoever sends them. Defaults to 256 MiB.
	Receiving int64
}

// Level is a level of pressure.
type Level uint8

// The levels.
const (
	NormalPressure Level = iota
	MediumPressure
	HighPressure
)

// String returns normal, medium or high.
func (l Level) String() string {
	if l > HighPressure {
		return fmt.Sprintf("Level(%d)", uint8(l))
	}
	return [...]string{"normal", "medium", "high"}[l]
}

// MarshalText returns what String does.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// Load is what the relay's resources looked like when they were last looked at,
// at most two seconds ago while mail comes in.
type Load struct {
	// Level is the highest of the levels of Queue, Memory and Disk.
	Level Level
	// Queue counts deliveries, Memory the bytes of Go memory in use, Disk the
	// free bytes; -1 is unknown.
	Queue, Memory, Disk                int64
	QueueLevel, MemoryLevel, DiskLevel Level
}

const pollInterval = 2 * time.Second

// monitor looks at the resources. It has no goroutine: whoever brings mail
// looks when the last look is too long ago.
type monitor struct {
	store  spool.Store
	level  atomic.Uint32
	next   atomic.Int64 // when to look again, in nanoseconds of the process's clock
	begun  time.Time
	mu     sync.Mutex
	load   Load
	limits Pressure
}

// setPressure sets the thresholds of a configuration.
func (r *Relay) setPressure(p Pressure) {
	r.monitor.setLimits(p)
	most := p.withDefaults().Receiving
	if most < 0 {
		most = math.MaxInt64 // off
	}
	r.memory.SetLimit(most)
}

func (m *monitor) setLimits(p Pressure) {
	m.mu.Lock()
	m.limits = p.withDefaults()
	m.mu.Unlock()
	m.next.Store(0)
}

func (p Pressure) withDefaults() Pressure {
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

// current returns the level, looking at the resources if the last look is old.
func (m *monitor) current(ctx context.Context) Level {
	now := int64(time.Since(m.begun))
	if next := m.next.Load(); now >= next && m.next.CompareAndSwap(next, now+int64(pollInterval)) {
		m.look(ctx)
	}
	return Level(m.level.Load())
}

func (m *monitor) look(ctx context.Context) Load {
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
	case over(high, HighPressure):
		return HighPressure
	case over(medium, MediumPressure):
		return MediumPressure
	}
	return NormalPressure
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
	case under(high, HighPressure):
		return HighPressure
	case under(medium, MediumPressure):
		return MediumPressure
	}
	return NormalPressure
}

// goMemory is what GOMEMLIMIT bounds.
func goMemory() int64 {
	samples := []metrics.Sample{
		{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"},
	}
	metrics.Read(samples)
	return int64(samples[0].Value.Uint64() - samples[1].Value.Uint64())
}

// decideLoad refuses mail that there is no room for.
func decideLoad(level Level, c client) *smtpd.Reply {
	if level == HighPressure || level == MediumPressure && c.stranger() {
		return replyNoRoom(pressureError(level))
	}
	return nil
}

type pressureError Level

func (e pressureError) Error() string { return "relay: pressure is " + Level(e).String() }

// Load looks at the relay's resources and returns what it sees.
func (r *Relay) Load(ctx context.Context) Load {
	if ctx == nil { // it has no error to answer
		ctx = context.Background()
	}
	return r.monitor.look(ctx)
}
