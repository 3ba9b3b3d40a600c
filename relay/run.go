package relay

import (
	"cmp"
	"context"
	"errors"
	"net"
	"sync"

	"github.com/postern-mail/postern/relay/internal/callback"
	"github.com/postern-mail/postern/relay/internal/logkey"
)

// Run listens, serves and delivers until ctx ends, then drains: it accepts no
// more, lets messages and attempts under way finish within Config.DrainTimeout,
// and returns nil. Shutdown and Close end it too. An error means that it could
// not listen, that a listener failed, that something did not end (see
// [Relay.Shutdown]), or, with [ErrClosed], that the relay had ended before.
func (r *Relay) Run(ctx context.Context) error {
	if ctx == nil {
		return errNoContext
	}
	if err := r.Listen(); err != nil {
		return err
	}
	r.start()
	r.mu.Lock()
	r.serving = true
	for _, l := range r.listeners {
		go r.serve(l)
	}
	r.mu.Unlock()
	var failure error
	select {
	case <-ctx.Done():
	case <-r.closed:
	case failure = <-r.failed:
	}
	drain, cancel := context.WithTimeout(
		context.Background(), cmp.Or(r.snap.Load().cfg.DrainTimeout, defaultDrain),
	)
	defer cancel()
	if err := r.Shutdown(drain); err != nil {
		r.kill() // a Shutdown of the application's may have more time, but Run has not
	}
	<-r.shutdown
	return errors.Join(failure, r.leftBehind)
}

func (r *Relay) serve(l net.Listener) {
	if err := r.server.Serve(l); err != nil && !errors.Is(err, net.ErrClosed) && !r.isClosed() {
		select {
		case r.failed <- err:
		default:
		}
	}
}

// Serve serves connections of one listener, and starts delivering. It returns
// nil after Shutdown or Close. It opens nothing: what else is bound waits for
// [Relay.Run].
//
// A connector must have the listener's address and port among its Bindings;
// port 0 there does not match. Without one, clients are closed without a
// banner, and the log has a line at Warn.
func (r *Relay) Serve(l net.Listener) error {
	if l == nil {
		return errors.New("relay: no listener")
	}
	if r.isClosed() {
		_ = l.Close()
		return ErrClosed
	}
	r.start()
	if p := r.snap.Load(); !hasPort(p, l.Addr()) {
		p.log.Warn(
			"no connector has a binding with the port that is served; its clients are closed",
			logkey.Address, l.Addr().String(),
		)
	}
	err := r.server.Serve(l)
	if r.isClosed() {
		return nil
	}
	return err
}

// start begins to deliver.
func (r *Relay) start() {
	r.begin.Do(func() {
		p := r.snap.Load()
		warn(p.rules, p.log)
		lease, stopLease := context.WithCancel(context.Background())
		work, stopWork := context.WithCancel(context.Background())
		alive, stopAlive := context.WithCancel(context.Background())
		r.leasing, r.working, r.alive = stopLease, stopWork, stopAlive
		go func() {
			defer close(r.gone)
			var rates sync.WaitGroup
			if shared := sharedOf(r.store); shared != nil {
				rates.Go(func() { r.rates.Share(alive, shared, p.log) })
			}
			r.nodes.Run(alive)
			rates.Wait()
		}()
		go callback.Run(func() {
			defer close(r.idle)
			r.sched.Run(lease, work)
		})
		if r.eventLog != nil {
			go r.eventLog.tidy(lease)
		}
	})
}
