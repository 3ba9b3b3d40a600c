package simtest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/relaytest"
)

// odds are the answers that a sick host gives at a stage, each with its
// probability. What is left is the answer of a host that is well.
type odds []struct {
	p     float64
	fault Fault
	says  answer
}

func sickness() map[relaytest.Stage]odds {
	stall, cut := answer{stall: true}, answer{cut: true}
	return map[relaytest.Stage]odds{
		relaytest.Connect: {
			{0.02, PeerLimits, reply(421, "4.7.0", "Too many connections")},
			{0.01, PeerCuts, cut}, {0.004, PeerStalls, stall},
		},
		relaytest.Hello: {{0.01, PeerCuts, cut}, {0.004, PeerStalls, stall}},
		relaytest.Mail: {
			{0.01, PeerLimits, reply(421, "4.7.0", "Too many messages")},
			{0.01, PeerLies, reply(noCode, "", "No such code")},
			{0.01, PeerDefers, reply(451, "4.3.0", "Not now")},
			{0.003, PeerStalls, stall},
		},
		relaytest.Rcpt: {
			{0.05, PeerDefers, reply(450, "4.2.1", "Not this one now")},
			{0.02, PeerRefuses, reply(550, "5.1.1", "Nobody")},
			{0.01, PeerLimits, reply(452, "4.5.3", "Too many recipients")},
			{0.01, PeerLimits, reply(552, "5.5.3", "Too many recipients")},
			{0.003, PeerCuts, cut}, {0.002, PeerStalls, stall},
		},
		relaytest.Content: {
			{0.01, PeerDefers, reply(451, "4.3.0", "Not this content now")},
			{0.01, PeerRefuses, reply(554, "5.6.0", "Not this content")},
			{0.01, PeerCuts, cut}, {0.01, PeerCuts, taking(cut)},
			{0.005, PeerStalls, stall}, {0.005, PeerStalls, taking(stall)},
			{0.01, PeerLies, taking(reply(451, "4.3.0", "I have it all the same"))},
		},
	}
}

// script is how a sick host answers.
func (w *World) script(host string) func(relaytest.Step) answer {
	sick, greylists := sickness(), w.chance(0.2)
	// A host that has had enough of a connection says so in words that would
	// be final on a new one.
	tired := append(
		odds{{0.05, PeerLimits, reply(554, "5.7.0", "Too many messages")}},
		sick[relaytest.Mail]...,
	)
	return func(s relaytest.Step) answer {
		list := sick[s.Stage]
		if s.Stage == relaytest.Mail && s.Transaction > 1 {
			list = tired
		}
		a, fault := w.draw(append(w.moodAt(host, s.Stage), list...))
		if greylists && fault == "" && s.Stage == relaytest.Rcpt && w.isNew(host, s.To) {
			a, fault = reply(450, "4.7.1", "Greylisted, please try again later"), PeerGreylists
		}
		if fault != "" {
			w.history.count(fault)
		}
		if a.code == noCode {
			w.setUnheard(host, s.Session)
		}
		w.keep(host, s, a, fault)
		return a
	}
}

// draw chooses an answer.
func (w *World) draw(list odds) (answer, Fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.random.Float64()
	for _, o := range list {
		if p -= o.p; p < 0 && !w.calm {
			return o.says, o.fault
		}
	}
	return answer{}, ""
}

// keep writes down whom a host has refused for good: the recipient, or behind
// the content all those that it had taken in the transaction.
func (w *World) keep(host string, s relaytest.Step, a answer, f Fault) {
	key := transaction{host, s.Session, s.Transaction}
	if s.Stage == relaytest.Rcpt {
		w.history.note(s.To, key, s.Stage, f)
	}
	switch {
	case s.Stage == relaytest.Rcpt && f == "":
		w.mu.Lock()
		w.kept[key] = append(w.kept[key], s.To)
		w.mu.Unlock()
	case s.Stage == relaytest.Rcpt && a.final(f):
		w.history.refuse(s.To)
	case s.Stage == relaytest.Content:
		w.mu.Lock()
		list := w.kept[key]
		delete(w.kept, key)
		w.mu.Unlock()
		for _, to := range list {
			w.history.note(to, key, s.Stage, f)
			if a.final(f) {
				w.history.refuse(to)
				w.history.refuseContent(to)
			}
		}
	}
}

// setUnheard notes that a host has said what nobody understands: what it says
// behind that on the connection, about other messages, is not heard.
func (w *World) setUnheard(host string, session int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unheard[transaction{host: host, session: session}] = true
}

func (w *World) isUnheard(host string, session int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.unheard[transaction{host: host, session: session}]
}

var errHandshake = errors.New("simtest: no handshake now")

// hopTLS serves STARTTLS, and now and then does not.
func (w *World) hopTLS() *tls.Config {
	cfg := &tls.Config{Certificates: []tls.Certificate{w.cert}}
	cfg.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		w.mu.Lock()
		fails := !w.calm && w.random.Float64() < 0.02
		w.mu.Unlock()
		if fails {
			w.history.count(TLSChanges)
			return nil, errHandshake
		}
		return nil, nil
	}
	return cfg
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// certificate makes one that nobody vouches for.
func certificate(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotAfter: time.Now().AddDate(1, 0, 0), DNSNames: []string{"*.test"},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
