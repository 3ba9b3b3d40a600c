package outbound

import (
	"context"
	"net"
	"time"

	"github.com/postern-mail/postern/relay/delivery"
)

// How a host with several addresses is dialled (RFC 8305 section 5).
const (
	// stagger is how long an address has for itself, until the next is dialled
	// beside it.
	stagger = 250 * time.Millisecond
	// maxDials bounds the dials under way for one connection.
	maxDials = 8
)

// dialled is what came of a dial.
type dialled struct {
	nth int
	raw net.Conn
	err error
}

// race dials the addresses of a host, one a quarter of a second after the other
// or as soon as the one before has failed, until the first is connected: the
// others are given up, and those that it has passed count as slow. It moves it
// to the front, with its line, and takes out those that have failed.
func (c *Client) race(
	ctx context.Context, h *hop, list []endpoint,
) (rest []endpoint, failed []*delivery.Error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan dialled, len(list))
	timer := time.NewTimer(stagger)
	defer timer.Stop()
	begun, ended := 0, 0
	start := func() {
		e, nth := &list[begun], begun
		go func() {
			raw, err := c.enter(ctx, h, e)
			results <- dialled{nth, raw, err}
		}()
		begun++
		timer.Reset(stagger)
	}
	start()
	for lost := make([]bool, len(list)); ; {
		next := timer.C
		if begun == len(list) || begun-ended == maxDials {
			next = nil
		}
		select {
		case <-next:
			start()
		case r := <-results:
			ended++
			if r.err == nil {
				go hangUp(results, begun-ended)
				for n := range r.nth {
					if !lost[n] {
						c.slow.passed(list[n].names)
					}
				}
				return front(list, lost, r), failed
			}
			lost[r.nth] = true
			failed = append(failed, c.unreached(ctx, &list[r.nth], r.err))
			switch {
			case begun < len(list) && ctx.Err() == nil:
				start()
			case ended == begun:
				return nil, failed
			}
		}
	}
}

// enter dials one address of several, and sees whether it is slow.
func (c *Client) enter(ctx context.Context, h *hop, e *endpoint) (net.Conn, error) {
	end := c.slow.watch(h.patience(), e.host, e.names...)
	defer end(false)
	ctx, cancel := context.WithTimeout(ctx, c.cfg.ConnectTimeout)
	defer cancel()
	return c.dial(ctx, h, e)
}

// hangUp closes what so many dials come to that nobody waits for.
func hangUp(results <-chan dialled, n int) {
	for range n {
		if r := <-results; r.raw != nil {
			r.raw.Close()
		}
	}
}

// front puts the address that was connected first before those that are left.
func front(list []endpoint, lost []bool, r dialled) []endpoint {
	list[r.nth].line = &line{r.raw}
	rest := []endpoint{list[r.nth]}
	for n, e := range list {
		if n != r.nth && !lost[n] {
			rest = append(rest, e)
		}
	}
	return rest
}

// unreached is the failure of a dial.
func (c *Client) unreached(ctx context.Context, e *endpoint, err error) *delivery.Error {
	failed := at(e.shown, lost(ctx, delivery.OpDial, "4.4.1", err))
	c.debug(ctx, "connection failed", failedArgs(failed)...)
	if ctx.Err() == nil {
		c.dead.add(e.addr)
	}
	return failed
}
