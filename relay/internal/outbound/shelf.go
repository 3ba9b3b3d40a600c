package outbound

import "time"

// maxIdle bounds the idle connections, over all next hops.
const maxIdle = 100

// poolEntry is a connection's place in the pool.
type poolEntry struct {
	key        hopKey
	idle       time.Duration // it may be unused for so long
	ends       time.Time     // it is too old
	until      time.Time     // it may be idle
	prev, next *conn         // in the list of all idle connections, oldest first
}

// spent tells that a connection has served its time, or cannot be used again.
func (c *conn) spent() bool {
	return c.bad.Load() || c.limit >= 0 && c.used >= c.limit || !time.Now().Before(c.pool.ends)
}

// shelf is all idle connections, in the order in which they became idle.
type shelf struct {
	n              int
	oldest, newest *conn
}

// add puts a connection behind the others.
func (s *shelf) add(c *conn) {
	e := &c.pool
	if e.until = time.Now().Add(e.idle); e.ends.Before(e.until) {
		e.until = e.ends
	}
	e.prev, e.next = s.newest, nil
	if s.newest != nil {
		s.newest.pool.next = c
	} else {
		s.oldest = c
	}
	s.newest = c
	s.n++
}

// remove takes a connection out.
func (s *shelf) remove(c *conn) {
	e := &c.pool
	if e.prev != nil {
		e.prev.pool.next = e.next
	} else {
		s.oldest = e.next
	}
	if e.next != nil {
		e.next.pool.prev = e.prev
	} else {
		s.newest = e.prev
	}
	e.prev, e.next = nil, nil
	s.n--
}

// overdue are the connections that may not be idle any longer, and first is
// when the next of the others may not.
func (s *shelf) overdue(now time.Time) (list []*conn, first time.Time) {
	for c := s.oldest; c != nil; c = c.pool.next {
		switch until := c.pool.until; {
		case !now.Before(until):
			list = append(list, c)
		case first.IsZero() || until.Before(first):
			first = until
		}
	}
	return list, first
}
