package simtest

import (
	"time"
)

// give gives the answer of a host that is sick.
func (d *dialogue) give(a answer) error {
	switch {
	case a.stall:
		_ = d.flush()
		<-d.done
		return errHungUp
	case a.cut:
		if d.world.chance(0.5) {
			_ = d.flush()
		}
		return errHungUp
	}
	if err := d.say(a); err != nil {
		return err
	}
	if a.code == 421 {
		_ = d.flush()
		return errHungUp
	}
	return nil
}

// say gives a reply.
func (d *dialogue) say(a answer) error {
	d.out = append(d.out, a.line()...)
	if d.replies--; d.replies == 0 {
		d.world.history.count(PeerCuts)
		_ = d.flush()
		return errHungUp
	}
	if d.oneByOne {
		return d.flush()
	}
	return nil
}

// flush writes the replies that there are. What they tell of is told then.
func (d *dialogue) flush() error {
	if len(d.out) == 0 {
		return nil
	}
	time.Sleep(d.latency)
	out, copies := d.out, d.copies
	d.out, d.copies = d.out[:0], nil
	if d.octets >= 0 && len(out) > d.octets {
		d.world.history.count(PeerCuts)
		_, _ = d.conn.Write(out[:d.octets])
		return errHungUp
	}
	if d.octets >= 0 {
		d.octets -= len(out)
	}
	if err := d.write(out); err != nil {
		return err
	}
	d.world.history.tell(copies)
	return nil
}

// write writes replies at once or in pieces.
func (d *dialogue) write(b []byte) error {
	for d.pieces && len(b) > 1 && d.world.chance(0.5) {
		n := 1 + d.world.below(len(b)-1)
		if _, err := d.conn.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
		time.Sleep(d.world.between(0, 20*time.Millisecond))
	}
	_, err := d.conn.Write(b)
	return err
}
