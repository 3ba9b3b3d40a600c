package simtest

import (
	"context"
	"time"

	"github.com/postern-mail/postern/relay/relaytest"
)

// mood is what a host has against the relay for a while.
type mood struct {
	fault Fault
	until time.Time
}

const (
	noCode = 654         // of a host that lies
	grey   = time.Minute // for which a host greylists
)

// grudges are what hosts say in a mood, in words that name its class. Those at
// a connection and a sender may pass: nobody would know whom they are for.
func grudges() map[Fault]map[relaytest.Stage]odds {
	return map[Fault]map[relaytest.Stage]odds{
		HostSlows: {
			relaytest.Connect: {{0.1, HostSlows, reply(421, "4.7.0", "Too many sessions opened")}},
			relaytest.Mail: {
				{0.4, HostSlows, reply(421, "4.7.0", "[TSS04] Messages from 10.0.0.1 "+
					"temporarily deferred due to unexpected volume or user complaints")},
				{0.4, HostSlows, reply(451, "4.7.650", "The mail server [10.0.0.1] has been "+
					"temporarily rate limited due to IP reputation.")},
			},
			relaytest.Content: {{0.4, HostSlows, reply(421, "4.7.28",
				"Our system has detected an unusual rate of unsolicited mail originating "+
					"from your IP address.")}},
		},
		HostBlocks: {
			relaytest.Mail: {{0.6, HostBlocks, reply(421, "4.7.1",
				"[TS03] All messages from 10.0.0.1 will be permanently deferred")}},
			relaytest.Rcpt: {{0.5, HostBlocks, reply(550, "5.7.1",
				"Service unavailable, Client host [10.0.0.1] blocked using Spamhaus.")}},
			relaytest.Content: {{0.5, HostBlocks, reply(550, "5.7.25", "The IP address sending "+
				"this message does not have a PTR record setup")}},
		},
		HostDoubts: {
			relaytest.Content: {
				{0.7, HostDoubts, reply(421, "4.7.26", "Your email has been rate limited "+
					"because it is unauthenticated.")},
				{0.2, HostDoubts, reply(550, "5.7.26", "This mail has been blocked because "+
					"the sender is unauthenticated.")},
			},
		},
	}
}

// moodAt is what a host says at a stage, in the mood that it has.
func (w *World) moodAt(host string, s relaytest.Stage) odds {
	w.mu.Lock()
	m := w.moods[host]
	w.mu.Unlock()
	if time.Now().After(m.until) {
		return nil
	}
	return grudges()[m.fault][s]
}

// setMood has the hosts of a domain, or a smart host, have something against
// the relay.
func (w *World) setMood(context.Context) {
	m := mood{w.kind, time.Now().Add(w.between(time.Minute, 15*time.Minute))}
	first := w.below(len(w.names))
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, name := range w.names {
		if name[2:] == w.names[first][2:] {
			w.moods[name] = m
		}
	}
}

// isNew tells whether a host that greylists has not waited long enough for a
// recipient.
func (w *World) isNew(host, to string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	key := [2]string{host, to}
	seen, known := w.grey[key]
	if !known {
		w.grey[key] = time.Now()
	}
	return !w.calm && (!known || time.Since(seen) < grey)
}
