package main

import (
	"context"

	"github.com/postern-mail/postern/examples/internal/smtpload"
)

// scenario is what the program can measure.
type scenario struct {
	key string
	run func(*bench, context.Context) error
}

// scenarios are all there are, in the order in which they run.
func scenarios() (all []scenario) {
	for _, c := range comparisons() {
		all = append(all, scenario{c.key, func(b *bench, ctx context.Context) error {
			return b.compare(ctx, c)
		}})
	}
	return append(
		all, scenario{"queued", (*bench).queued}, scenario{"idle", (*bench).idle},
		scenario{"backlog", (*bench).backlog}, scenario{"fair", (*bench).fair},
	)
}

// keys are the names of all scenarios.
func keys() (all []string) {
	for _, s := range scenarios() {
		all = append(all, s.key)
	}
	return all
}

// comparison is a scenario of the gateway and Postfix: a load, and the next hop
// that takes it.
type comparison struct {
	key   string
	title string
	smtpload.Load
	mail
	nextHop
	own  bool // our programs send and take the mail, not Postfix's
	bars []bar
}

// mail is what is special about the messages.
type mail struct {
	recipients int // of each message; 0 is 1
	domains    int // of the recipients; 0 is one
	streams    int
	signed     bool
	tls        bool // on both sides
}

// nextHop is who takes the mail.
type nextHop struct {
	far         bool // 50 ms away
	chunking    bool
	connections int // at once; 0 is the server's default, which is 20 for both
	mx          bool
}

func comparisons() []comparison {
	small, usual := 1<<10, 10<<10
	return []comparison{
		{
			key: "a", title: "1 session",
			Load: smtpload.Load{Sessions: 1, Size: small, Messages: 1000},
		},
		{
			key: "b", title: "20 sessions",
			Load: smtpload.Load{Sessions: 20, Size: usual, Messages: 5000},
			bars: []bar{timesPostfix(6)},
		},
		{
			key: "c", title: "20 sessions",
			Load: smtpload.Load{Sessions: 20, Size: 1 << 20, Messages: 300},
		},
		{
			key: "d", title: "100 sessions",
			Load: smtpload.Load{Sessions: 100, Size: small, Messages: 5000},
		},
		{
			key: "d2", title: "100 sessions",
			Load: smtpload.Load{Sessions: 100, Size: small, Messages: 5000, Reuse: true},
			bars: []bar{timesPostfix(14)},
		},
		{
			key: "burst", title: "100 sessions, one message each", own: true,
			Load: smtpload.Load{Sessions: 100, Size: 1 << 20, Messages: 100},
			bars: []bar{timesPostfix(3)},
		},
		{
			key: "100k", title: "20 sessions", own: true,
			Load: smtpload.Load{Sessions: 20, Size: 100 << 10, Messages: 2000},
		},
		{
			key: "rcpts", title: "20 recipients for each message", own: true,
			Load: smtpload.Load{Sessions: 20, Size: usual, Messages: 2000},
			mail: mail{recipients: 20},
			bars: []bar{timesPostfix(5)},
		},
		{
			key: "tls", title: "TLS on both sides", own: true,
			Load: smtpload.Load{Sessions: 20, Size: usual, Messages: 2000},
			mail: mail{tls: true},
			bars: []bar{timesPostfix(3)},
		},
		{
			key: "dkim", title: "signed, RSA", own: true,
			Load: smtpload.Load{Sessions: 20, Size: usual, Messages: 3000},
			mail: mail{signed: true},
		},
		{
			key: "100k-dkim", title: "signed, RSA", own: true,
			Load: smtpload.Load{Sessions: 20, Size: 100 << 10, Messages: 2000},
			mail: mail{signed: true},
			bars: []bar{perSecond(1000)},
		},
		{
			key: "streams", title: "1,000 streams", own: true,
			Load: smtpload.Load{Sessions: 20, Size: usual, Messages: 5000},
			mail: mail{streams: 1000},
		},
		{
			key: "mx", title: "mail exchangers of 1,000 domains", own: true,
			Load:    smtpload.Load{Sessions: 20, Size: usual, Messages: 5000},
			mail:    mail{domains: 1000},
			nextHop: nextHop{mx: true},
		},
		{
			key: "far", title: "50 ms away, PIPELINING, 20 connections", own: true,
			Load:    smtpload.Load{Sessions: 20, Size: usual, Messages: 2000},
			nextHop: nextHop{far: true},
			bars:    []bar{perSecond(340)},
		},
		{
			key: "far-chunks", title: "50 ms away, CHUNKING, 20 connections", own: true,
			Load:    smtpload.Load{Sessions: 20, Size: usual, Messages: 2000},
			nextHop: nextHop{far: true, chunking: true},
			bars:    []bar{timesPostfix(8)},
		},
		{
			key: "far-100", title: "50 ms away, PIPELINING, up to 100 connections", own: true,
			Load:    smtpload.Load{Sessions: 20, Size: usual, Messages: 5000},
			nextHop: nextHop{far: true, connections: 100},
			bars:    []bar{perSecond(1500)},
		},
	}
}
