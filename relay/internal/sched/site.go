package sched

import (
	"time"

	"github.com/postern-mail/postern/relay/bounce"
	"github.com/postern-mail/postern/relay/spool"
)

// Site is where the deliveries of a key go: those of one site share what is
// learned of it.
type Site struct {
	// Name is that of the site: its mail exchangers, or a route that is none.
	// Until the exchangers of a domain are known, it is a site of its own.
	Name string
	// Provider operates it. May be empty.
	Provider string
	// Source is the local address that connections are made from. Empty is the
	// system's choice.
	Source string
}

// Health is what a delivery taught about its site.
type Health uint8

const (
	// Reached: the next hop answered, whatever it said.
	Reached Health = iota
	// Unreachable: no host of the next hop could be talked to.
	Unreachable
)

// Lesson is what a delivery taught about its site.
type Lesson struct {
	Health Health
	// Class is that of the failure which matters most for the site; empty when
	// a copy was taken, or nothing is known.
	Class bounce.Class
}

// Throttles are what somebody else has learned about sites. Its methods are
// called often, by one goroutine, and must not wait.
type Throttles interface {
	// Until tells until when a delivery is kept back; a time that has passed,
	// or the zero time, does not.
	Until(l *spool.Lease, s Site) time.Time
	// Slower tells to which part of its usual rate and deliveries at once a
	// site is held: above 0, and 1 if it is not.
	Slower(s Site) float64
}

// unthrottled keeps nothing back.
type unthrottled struct{}

func (unthrottled) Until(*spool.Lease, Site) time.Time { return time.Time{} }
func (unthrottled) Slower(Site) float64                { return 1 }
