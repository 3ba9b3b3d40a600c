package outbound

import "net"

// line is a connection that was dialled ahead of its use.
type line struct{ net.Conn }

// take hands the connection over, if there still is one.
func (l *line) take() net.Conn {
	if l == nil {
		return nil
	}
	c := l.Conn
	l.Conn = nil
	return c
}

// drop closes the connection unless somebody has taken it.
func (l *line) drop() {
	if c := l.take(); c != nil {
		c.Close()
	}
}
