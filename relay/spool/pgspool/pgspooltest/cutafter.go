package pgspooltest

import "net"

// Side is an end of a connection that a Proxy passes on.
type Side uint8

// The ends of a connection. Their zero value is none of them.
const (
	FromClient Side = iota + 1
	FromServer
)

// budget is what may pass from a side before all connections end.
type budget struct {
	armed  bool
	side   Side
	left   int64
	passed [FromServer + 1]int64 // by sides
}

// CutAfter ends all connections once n more bytes have come from a side, of all
// connections together; the n-th is passed on. It happens once: connections
// that are made later are passed on. Another call takes the place of one that
// has not come true, and n below 0 only forgets that.
func (p *Proxy) CutAfter(side Side, n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.budget.armed, p.budget.side, p.budget.left = n >= 0, side, n
}

// Passed is how many bytes have come from a side so far.
func (p *Proxy) Passed(side Side) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.budget.passed[side]
}

// write passes bytes on, as many as CutAfter allows. It reports whether the
// connection goes on.
func (p *Proxy) write(to net.Conn, side Side, b []byte) bool {
	n, last := p.spend(side, len(b))
	_, err := to.Write(b[:n])
	if last {
		p.Reset()
	}
	return err == nil && !last
}

// spend tells how many of n bytes may pass, and whether they are the last.
func (p *Proxy) spend(side Side, n int) (int, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := &p.budget
	if !b.armed || b.side != side || b.left > int64(n) {
		if b.armed && b.side == side {
			b.left -= int64(n)
		}
		b.passed[side] += int64(n)
		return n, false
	}
	n, b.armed = int(b.left), false
	b.passed[side] += int64(n)
	return n, true
}
