package relay

import (
	"context"
	"math"

	"github.com/postern-mail/postern/relay/internal/policy"
)

// setPressure sets the thresholds of a configuration.
func (r *Relay) setPressure(p Pressure) {
	limits := policy.Limits(p).WithDefaults()
	r.monitor.SetLimits(limits)
	most := limits.Receiving
	if most < 0 {
		most = math.MaxInt64 // off
	}
	r.memory.SetLimit(most)
}

// Load looks at the relay's resources and returns what it sees.
func (r *Relay) Load(ctx context.Context) Load {
	if ctx == nil { // it has no error to answer
		ctx = context.Background()
	}
	l := r.monitor.Look(ctx)
	return Load{
		Level: PressureLevel(l.Level), Queue: l.Queue, Memory: l.Memory, Disk: l.Disk,
		QueueLevel:  PressureLevel(l.QueueLevel),
		MemoryLevel: PressureLevel(l.MemoryLevel), DiskLevel: PressureLevel(l.DiskLevel),
	}
}
