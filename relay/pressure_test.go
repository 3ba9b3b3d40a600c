package relay_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/spool"
)

// gauged is a store on a disk that the test fills.
type gauged struct {
	spool.Store
	free atomic.Int64
}

func (g *gauged) Free() (int64, error) { return g.free.Load(), nil }

func TestPressure(t *testing.T) {
	g := &gauged{}
	g.free.Store(1 << 40)
	w := start(t, func(c *relay.Config) {
		g.Store, c.Spool = c.Spool, g
		c.Pressure = relay.Pressure{DiskMedium: 1000, DiskHigh: 100}
	})
	ctx := context.Background()
	submit := func() error {
		_, err := w.relay.Submit(
			ctx,
			&relay.Message{
				From: "app@example.test", To: []string{"x@elsewhere.test"},
				Content: strings.NewReader(text),
			},
		)
		return err
	}
	for _, step := range []struct {
		free                   int64
		level                  relay.PressureLevel
		stranger, host, itself bool // accepted
	}{
		{2000, relay.NormalPressure, true, true, true},
		{999, relay.MediumPressure, false, true, true},
		{1050, relay.MediumPressure, false, true, true}, // not far enough above
		{1101, relay.NormalPressure, true, true, true},
		{99, relay.HighPressure, false, false, false},
		{105, relay.HighPressure, false, false, false},
		{111, relay.MediumPressure, false, true, true},
		{5000, relay.NormalPressure, true, true, true},
	} {
		g.free.Store(step.free)
		if l := w.relay.Load(ctx); l.Level != step.level || l.Disk != step.free {
			t.Errorf("%d free: %+v, want level %v", step.free, l, step.level)
		}
		for who, try := range map[string]struct {
			accepted bool
			err      error
		}{
			"stranger": {
				step.stranger, send(w.addr("in"), nil, "x@elsewhere.test", "alice@example.test"),
			},
			"host": {
				step.host, send(w.addr("apps"), nil, "x@elsewhere.test", "alice@example.test"),
			},
			"itself": {step.itself, submit()},
		} {
			if (try.err == nil) != try.accepted {
				t.Errorf("%d free, %s: %v", step.free, who, try.err)
			}
			if try.err != nil && !strings.Contains(try.err.Error(), "4.3.1") {
				t.Errorf("%d free, %s: %v", step.free, who, try.err)
			}
		}
	}
}
