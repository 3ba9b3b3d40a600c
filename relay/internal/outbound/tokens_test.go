package outbound_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/internal/outbound"
)

// issuer is a source of tokens.
type issuer struct {
	tokens []string // in turn, one for each that was refused
	err    error
	takes  time.Duration
	hangs  bool
	panics bool
	exits  bool // its goroutine, once

	mu    sync.Mutex
	calls int
	at    atomic.Int64
	most  atomic.Int64
}

func (i *issuer) Token(ctx context.Context, refused string) (string, error) {
	if n := i.at.Add(1); n > i.most.Load() {
		i.most.Store(n)
	}
	defer i.at.Add(-1)
	if i.hangs {
		<-make(chan struct{})
	}
	time.Sleep(i.takes)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.calls++
	if i.panics {
		panic("out of tokens")
	}
	if i.exits {
		i.exits = false
		runtime.Goexit()
	}
	for len(i.tokens) > 1 && i.tokens[0] == refused {
		i.tokens = i.tokens[1:]
	}
	return i.tokens[0], i.err
}

func (i *issuer) asked() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	n := i.calls
	i.calls = 0
	return n
}

// byToken is a request to a host that is logged on to with tokens.
func byToken(source *issuer) *outbound.Request {
	r := newRequest("hi\r\n")
	r.Hop.Username, r.Hop.Tokens, r.Hop.AllowPlaintextAuth = "app", source, true
	r.Hop.MessagesPerConnection = 1
	return r
}

// TestRefusedTokenIsReplacedOnce on the same connection, or a new one if the
// host hangs up over it.
func TestRefusedTokenIsReplacedOnce(t *testing.T) {
	for _, hangUp := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := &smartHost{hangUp: hangUp}
			s.Tokens = takes("app", "second")
			source := &issuer{tokens: []string{"first", "second"}}
			c := newClient(t, dialPipe(s.serve))
			expect(t, c.Deliver(t.Context(), byToken(source)), taken)
			want := 1
			tries, conns := s.tried()
			if hangUp {
				want = 2
			}
			if conns != want || tries != "OAUTHBEARER OAUTHBEARER" {
				t.Errorf("%s on %d connections", tries, conns)
			}
			if n := source.asked(); n != 2 {
				t.Errorf("the source was asked %d times", n)
			}
		})
	}
}

// TestTokenRefusedAgain rests for a while, however many messages wait.
func TestTokenRefusedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &smartHost{}
		s.Tokens = takes("app", "third")
		source := &issuer{tokens: []string{"first", "second", "third"}}
		c := newClient(t, dialPipe(s.serve))
		deliver := func(n int, want string) {
			t.Helper()
			var wg sync.WaitGroup
			for range n {
				wg.Go(func() { expect(t, c.Deliver(t.Context(), byToken(source)), want) })
			}
			wg.Wait()
		}
		deliver(20, refusedLogon+" error")
		if tries, _ := s.tried(); strings.Count(tries, "OAUTHBEARER") != 2 {
			t.Errorf("tried %s", tries)
		}
		time.Sleep(outbound.RefusedFor)
		deliver(20, taken) // with the third
	})
}

// TestManyConnectionsShareOneFetch: a source is never asked twice at a time for
// one next hop.
func TestManyConnectionsShareOneFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &smartHost{}
		var good atomic.Value
		good.Store("first")
		s.Tokens = verifierOf(&good)
		source := &issuer{tokens: []string{"first", "second"}, takes: time.Second}
		c := newClient(t, dialPipe(s.serve))
		expect(t, c.Deliver(t.Context(), byToken(source)), taken)
		good.Store("second")
		start := time.Now()
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() { expect(t, c.Deliver(t.Context(), byToken(source)), taken) })
		}
		wg.Wait()
		if n := source.most.Load(); n != 1 {
			t.Errorf("%d questions at a time", n)
		}
		if n, took := source.asked(), time.Since(start); n != 3 || took != 2*time.Second {
			t.Errorf("%d questions in %v", n, took)
		}
	})
}

// TestSourceFails: mail waits, the cause is told, and the source rests.
func TestSourceFails(t *testing.T) {
	gone := errors.New("no such client")
	for name, c := range map[string]struct {
		source *issuer
		want   string
	}{
		"error":   {&issuer{tokens: []string{""}, err: gone}, "no such client"},
		"nothing": {&issuer{tokens: []string{""}}, "a token that no host can be shown"},
		"two":     {&issuer{tokens: []string{"a\x01b"}}, "a token that no host can be shown"},
		"panic":   {&issuer{panics: true}, "panicked: out of tokens"},
		"silence": {
			&issuer{takes: time.Hour, tokens: []string{"late"}}, "did not answer within 30s",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &smartHost{}
				s.Tokens = takes("app", "good")
				client := newClient(t, dialPipe(s.serve))
				good := byToken(&issuer{tokens: []string{"good"}})
				var wg sync.WaitGroup
				for range 5 {
					wg.Go(func() {
						res := client.Deliver(t.Context(), byToken(c.source))
						expect(t, res, noLogon)
						if err := res[0].Err; err == nil || !strings.Contains(err.Error(), c.want) {
							t.Errorf("cause: %v", err)
						}
					})
					// Another next hop does not wait.
					start := time.Now()
					expect(t, client.Deliver(t.Context(), good), taken)
					if took := time.Since(start); took != 0 {
						t.Errorf("another next hop waited for %v", took)
					}
				}
				wg.Wait()
				if n := c.source.most.Load(); n > 1 || c.source.asked() > 1 {
					t.Error("the source was asked more than once")
				}
				if _, conns := s.tried(); conns != 5 {
					t.Errorf("%d connections", conns)
				}
				time.Sleep(2 * time.Hour) // what hangs ends before the bubble
			})
		})
	}
}

// TestSourceThatExitsIsAskedAgain when it has rested.
func TestSourceThatExitsIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &smartHost{}
		s.Tokens = takes("app", "good")
		client := newClient(t, dialPipe(s.serve))
		source := &issuer{tokens: []string{"good"}, exits: true}
		expect(t, client.Deliver(t.Context(), byToken(source)), noLogon)
		time.Sleep(time.Minute)
		expect(t, client.Deliver(t.Context(), byToken(source)), taken)
	})
}

// TestMechanismThatIsNotKnown costs no token.
func TestMechanismThatIsNotKnown(t *testing.T) {
	s := &smartHost{claims: "OAUTHBEARER", hide: []string{"OAUTHBEARER"}}
	s.Tokens = takes("app", "good")
	c := newClient(t, dialTo(listen(t, s.serve)))
	source := &issuer{tokens: []string{"good"}}
	for range 2 {
		expect(t, c.Deliver(t.Context(), byToken(source)), taken)
	}
	// The one that is known comes first from then on.
	if tries, _ := s.tried(); tries != "OAUTHBEARER XOAUTH2 XOAUTH2" || source.asked() != 2 {
		t.Errorf("tried %s", tries)
	}
	s.claims = "OAUTHBEARER XOAUTH2"
	c = newClient(t, dialTo(listen(t, s.serve)))
	res := c.Deliver(t.Context(), byToken(source))
	if n := source.asked(); n != 1 || failureOf(res[0]).Reply.Code != 504 {
		t.Errorf("%s, asked %d times", show(res[0]), n)
	}
}

// TestSourceThatGivesTheRefusedTokenAgain is told apart from a wrong one.
func TestSourceThatGivesTheRefusedTokenAgain(t *testing.T) {
	s := &smartHost{}
	s.Tokens = takes("app", "good")
	c := newClient(t, dialTo(listen(t, s.serve)))
	res := c.Deliver(t.Context(), byToken(&issuer{tokens: []string{"old"}}))
	expect(t, res, refusedLogon+" error")
	if err := res[0].Err.Error(); !strings.Contains(err, "gave the refused token again") {
		t.Error(err)
	}
	if tries, _ := s.tried(); tries != "OAUTHBEARER" {
		t.Errorf("tried %s", tries)
	}
}

// TestLongTokenWaitsToBeAskedFor, as it fits no command line.
func TestLongTokenWaitsToBeAskedFor(t *testing.T) {
	long := strings.Repeat("abcd", 1000)
	for _, hidden := range []string{"", "OAUTHBEARER"} {
		s := &smartHost{tls: selfSigned(), hide: []string{hidden}}
		s.Tokens = takes("app", long)
		c := newClient(t, dialTo(listen(t, s.serve)))
		r := byToken(&issuer{tokens: []string{long}})
		r.Hop.ImplicitTLS = true
		expect(t, c.Deliver(t.Context(), r), taken)
	}
}

// TestHostSaysWhyItRefusesAToken: its words are in the log, and the token is
// not.
func TestHostSaysWhyItRefusesAToken(t *testing.T) {
	for _, hidden := range []string{"", "OAUTHBEARER"} {
		var log bytes.Buffer
		s := &smartHost{hide: []string{hidden}}
		s.lie = func(_, challenge string) string { return challenge + " t0k3n\r\n" }
		s.Tokens, s.TokenScope = takes("app", "good"), "smtp.send"
		c := newClient(t, dialTo(listen(t, s.serve)), func(cfg *outbound.Config) {
			cfg.Logger = slog.New(
				slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}),
			)
		})
		res := c.Deliver(t.Context(), byToken(&issuer{tokens: []string{"t0k3n"}}))
		told := log.String() + res[0].Err.Error()
		if strings.Contains(told, "t0k3n") || strings.Count(told, "smtp.send") < 2 {
			t.Error(told)
		}
	}
}
