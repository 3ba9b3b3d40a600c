package simtest

import (
	"context"
	"net/netip"
	"sync"
	"time"
)

// shared reports whether several nodes have one store.
func (w *World) shared() bool { return len(w.lives) > 1 }

// addressOf is where a node listens, and calls from.
func addressOf(node int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(node + 1)}), 25)
}

// nodeAt is the node that calls from an address.
func nodeAt(a netip.AddrPort) int { return int(a.Addr().As4()[3]) - 1 }

// node is the process of a node.
func (w *World) node(i int) *life {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lives[i]
}

// any is the process of some node, in order or not.
func (w *World) any() *life {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lives[w.random.IntN(len(w.lives))]
}

// take is the process of a node that is not out of order, or nil.
func (w *World) take() *life {
	w.mu.Lock()
	defer w.mu.Unlock()
	var in []*life
	for _, l := range w.lives {
		if !l.out {
			in = append(in, l)
		}
	}
	if len(in) == 0 {
		return nil
	}
	return in[w.random.IntN(len(in))]
}

// cutStore puts the store out of reach of a node for a while, which may be
// longer than its leases last.
func (w *World) cutStore(ctx context.Context) {
	silent := w.chance(0.5)
	w.away(ctx, StoreCut, func(l *life) { l.link.cut(silent) })
}

// stopProcess has a node stand still for a while, as a process that is stopped
// or starved, or a machine that is paused. Then it goes on with what it was at.
func (w *World) stopProcess(ctx context.Context) {
	w.away(ctx, ProcessStops, func(l *life) { l.link.stop() })
}

// away has something happen to a node, and mends it later.
func (w *World) away(ctx context.Context, f Fault, happens func(*life)) {
	l := w.take()
	if l == nil {
		return
	}
	w.history.count(f)
	w.setOut(l, true)
	var begun time.Time
	w.aim(l, func() {
		begun = time.Now()
		happens(l)
	})
	w.mending.Go(func() {
		pause(ctx, w.between(w.plan.Lease/4, 3*w.plan.Lease))
		l.link.mend()
		w.history.trouble(l.node, span{begun, time.Now()})
		w.history.outage(begun)
		w.setOut(l, false)
	})
}

// aim has something happen to a node at the worst moment: when a next hop has
// taken a message, and has not answered.
func (w *World) aim(l *life, happens func()) {
	struck := make(chan struct{})
	strike := sync.OnceFunc(func() {
		happens()
		close(struck)
	})
	if w.shared() && w.chance(0.8) {
		w.mu.Lock()
		w.aimed[l.node] = strike
		w.mu.Unlock()
		select {
		case <-struck:
		case <-time.After(5 * time.Second):
		}
	}
	strike()
}

// strike has happen what is aimed at a node.
func (w *World) strike(node int) {
	w.mu.Lock()
	happens := w.aimed[node]
	delete(w.aimed, node)
	w.mu.Unlock()
	if happens != nil {
		happens()
	}
}

func (w *World) setOut(l *life, out bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l.out = out
}

// stands waits while the process stands still.
func (l *life) stands() {
	if l.link != nil {
		l.link.stands()
	}
}
