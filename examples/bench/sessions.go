package main

import (
	"context"
	"net"
	"net/textproto"
	"time"
)

// openSessions opens connections to the relay that say EHLO and nothing else.
func openSessions(ctx context.Context, n int) ([]net.Conn, error) {
	var conns []net.Conn
	var d net.Dialer
	for range n {
		c, err := d.DialContext(ctx, "tcp", relayAddr)
		if err != nil {
			return conns, err
		}
		conns = append(conns, c)
		if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
			return conns, err
		}
		text := textproto.NewConn(c)
		if _, _, err := text.ReadResponse(220); err != nil {
			return conns, err
		}
		if err := text.PrintfLine("EHLO idle.example.test"); err != nil {
			return conns, err
		}
		if _, _, err := text.ReadResponse(250); err != nil {
			return conns, err
		}
	}
	return conns, nil
}
