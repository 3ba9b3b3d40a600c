package outbound

import (
	"context"
	"errors"
	"iter"
	"math"
	"slices"
	"strings"

	"github.com/postern-mail/postern/relay/delivery"
)

// route gives the endpoints of a next hop in the order of trying them, or, in
// place of one, why there is none. It looks a host up only when its turn has
// come. Whoever asks for another endpoint has failed with the one before: such
// addresses, and hosts that have no other, come last for a while.
func (c *Client) route(ctx context.Context, h *hop) iter.Seq2[endpoint, *delivery.Error] {
	return func(yield func(endpoint, *delivery.Error) bool) {
		hosts, failed := c.hosts(ctx, h)
		if failed != nil {
			yield(endpoint{}, failed)
			return
		}
		left := math.MaxInt // addresses to be tried
		if !h.smart() {
			left = maxMXAddresses
		}
		for i, host := range hosts {
			others := len(hosts) - 1 - i // each may have an address
			look, cancel := turn(ctx, others)
			endpoints, failed := c.find(look, h, host, len(hosts) > 1)
			cancel()
			if failed != nil && (!yield(endpoint{}, failed) || ctx.Err() != nil) {
				c.dead.add(host)
				return
			}
			if failed != nil && errors.Is(failed.Err, errLoop) {
				// RFC 5321 section 5.1: those behind it would send the mail
				// back.
				c.aliases.add(host)
				return
			}
			endpoints = endpoints[:min(len(endpoints), left)]
			left -= len(endpoints)
			if !c.tryAll(ctx, h, endpoints, min(others, left), yield) {
				return
			}
			c.dead.add(host)
		}
	}
}

// tryAll hands the addresses of a host out, as they can be reached, and reports
// whether another host is asked for. behind are the addresses that may follow.
func (c *Client) tryAll(
	ctx context.Context, h *hop, list []endpoint, behind int,
	yield func(endpoint, *delivery.Error) bool,
) bool {
	for len(list) > 0 {
		if len(list) > 1 {
			var failed []*delivery.Error
			mine, end := turn(ctx, behind)
			list, failed = c.race(mine, h, list)
			end()
			for _, why := range failed {
				if !yield(endpoint{}, why) || ctx.Err() != nil {
					for _, e := range list {
						e.line.drop()
					}
					return false
				}
			}
			if list == nil {
				break
			}
		}
		list[0].behind = len(list) - 1 + behind
		if !c.try(list[0], yield) || ctx.Err() != nil {
			return false
		}
		list = list[1:]
	}
	return true
}

// try hands an endpoint out, and reports whether another is asked for.
func (c *Client) try(e endpoint, yield func(endpoint, *delivery.Error) bool) bool {
	defer e.line.drop()
	if !yield(e, nil) {
		c.dead.remove(e.host)
		c.dead.remove(e.addr)
		return false
	}
	c.dead.add(e.addr)
	return true
}

// find gives the endpoints of one of a next hop's hosts. Where others are to
// be tried as well, they know which of them is slow.
func (c *Client) find(
	ctx context.Context, h *hop, host string, others bool,
) ([]endpoint, *delivery.Error) {
	end := func(bool) {}
	if others {
		end = c.slow.watch(h.patience(), host, host)
	}
	endpoints, failed := c.endpoints(ctx, h, host)
	end(failed == nil)
	for i := range endpoints {
		e := &endpoints[i]
		e.host = host
		switch {
		case len(endpoints) > 1:
			e.names = []string{e.addr}
		case others:
			e.names = []string{e.addr, host}
		}
	}
	return endpoints, failed
}

// hosts gives the hosts of a next hop in the order of this connection.
func (c *Client) hosts(ctx context.Context, h *hop) ([]string, *delivery.Error) {
	if n := len(h.Hosts); n > 0 {
		turn := c.pool.rotate(h.key) % n
		hosts := slices.Concat(h.Hosts[turn:], h.Hosts[:turn])
		// Those that answer take connections faster than those that do not.
		slices.SortStableFunc(hosts, func(a, b string) int {
			return c.slow.waits(a) - c.slow.waits(b)
		})
		c.deadLast(hosts)
		return hosts, nil
	}
	if strings.HasPrefix(h.domain, "[") {
		return []string{h.domain}, nil
	}
	hosts := slices.Clone(h.found)
	if h.found == nil {
		var of *site
		var failed *delivery.Error
		if hosts, of, failed = c.exchangers(ctx, h.domain); failed != nil {
			return nil, failed
		}
		h.reconsider(of)
	}
	c.deadLast(hosts)
	return hosts, nil
}
