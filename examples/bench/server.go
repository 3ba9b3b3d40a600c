package main

import (
	"context"
	"fmt"
)

// server is a running relay.
type server interface {
	roots() []int // the processes that the others descend from
	stop() error
}

// setup is what a server is to do.
type setup struct {
	relay            string // address, of which both are told
	host             string // smart host; empty: mail exchangers
	port             int    // of the smart host or the mail exchangers
	resolv           string // file in the place of /etc/resolv.conf; may be empty
	connections      int    // at once to the next hop; 0 is the server's default
	single           bool   // a new connection for each message; the gateway's only
	provider         string // end of the names of exchangers that get 20 connections in all
	certificate, key string // files, for TLS on both sides; may be empty
	dkim             string // file of the key that signs; may be empty
	streams          bool
	eventLog         bool
}

// start starts a server in an empty folder.
func (b *bench) start(ctx context.Context, name, dir string, s setup) (server, error) {
	switch name {
	case "gateway":
		return startGateway(ctx, b.binary, dir, s)
	case "postfix":
		return startPostfix(ctx, dir, s)
	}
	return nil, fmt.Errorf("no server %q", name)
}
