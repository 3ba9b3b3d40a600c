package policy_test

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/relay/internal/policy"
)

// Calls that do not return are counted, and beyond a number of them nobody is
// asked.
func TestStuckVerifiersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before := runtime.NumGoroutine()
		release := make(chan struct{})
		var asked atomic.Int32
		s := bound(&auth.Server{Passwords: auth.VerifierFunc(func(
			context.Context, auth.Proof,
		) (*auth.Identity, error) {
			asked.Add(1)
			<-release
			return &auth.Identity{User: "anna"}, nil
		})})
		for range policy.MaxAbandoned + 10 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if err := askPlain(ctx, s); err == nil ||
				errors.Is(err, auth.ErrBadCredentials) {
				t.Fatal(err)
			}
			cancel()
		}
		if n := runtime.NumGoroutine() - before; asked.Load() != policy.MaxAbandoned ||
			n > policy.MaxAbandoned+10 {
			t.Errorf("asked %d times, %d goroutines", asked.Load(), n)
		}
		close(release)
		synctest.Wait()
		if err := askPlain(t.Context(), s); err != nil {
			t.Errorf("when all have returned: %v", err)
		}
	})
}

// A panic of a verifier is no answer, and its place is in the log.
func TestVerifierPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		v := policy.NewCalls(slog.New(slog.NewTextHandler(&log, nil)), 0)
		ask := func(f auth.VerifierFunc) error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			return askPlain(ctx, v.Bound(&auth.Server{Passwords: f}))
		}
		at := func(after time.Duration) auth.VerifierFunc {
			return func(context.Context, auth.Proof) (*auth.Identity, error) {
				<-time.After(after)
				panic("boom")
			}
		}
		err := ask(at(0))
		if err == nil || errors.Is(err, auth.ErrBadCredentials) ||
			errors.Is(err, policy.ErrUnanswered) {
			t.Errorf("at once: %v", err)
		}
		if s := log.String(); strings.Count(s, "boom") != 1 ||
			!strings.Contains(s, "calls_test.go") {
			t.Errorf("log %s", s)
		}
		err = ask(at(time.Minute))
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, policy.ErrUnanswered) {
			t.Errorf("too late: %v", err)
		}
		if n := v.Abandoned(); n != 1 {
			t.Errorf("%d left alone", n)
		}
		<-time.After(time.Minute)
		synctest.Wait()
		if strings.Count(log.String(), "boom") != 2 || v.Abandoned() != 0 {
			t.Errorf("%d left alone, log %s", v.Abandoned(), log.String())
		}
		err = ask(func(context.Context, auth.Proof) (*auth.Identity, error) {
			runtime.Goexit()
			return nil, nil
		})
		if err == nil {
			t.Error("a goroutine that ends gives a good answer")
		}
	})
}

// What heeds its context has time to say what it came to.
func TestCallsHaveGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := policy.NewCalls(slog.New(slog.DiscardHandler), time.Second)
		for late, want := range map[time.Duration]error{
			900 * time.Millisecond: nil, 1100 * time.Millisecond: policy.ErrUnanswered,
		} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			got, err := policy.Call(ctx, calls, "a test", slog.Attr{}, func() (string, error) {
				<-ctx.Done()
				time.Sleep(late)
				return "done", nil
			})
			cancel()
			if !errors.Is(err, want) || (got == "done") != (want == nil) {
				t.Errorf("%v late: %q, %v", late, got, err)
			}
			time.Sleep(time.Second)
		}
	})
}

// Nothing that an application has set is lost: it is the server itself that
// runs the exchanges.
func TestBoundIsTheServer(t *testing.T) {
	v := auth.VerifierFunc(nil)
	s := &auth.Server{Passwords: v, Tokens: v, Certificates: v}
	b := bound(s)
	if b.Server != s {
		t.Error("another server")
	}
	conn := auth.Conn{TLS: new(tls.ConnectionState)}
	if got, want := b.Mechanisms(conn), s.Mechanisms(conn); !slices.Equal(got, want) {
		t.Errorf("offers %v, want %v", got, want)
	}
}

// askPlain lets anna log on by PLAIN.
func askPlain(ctx context.Context, v *policy.Verifiers) error {
	x, err := v.Begin(auth.Plain, auth.Conn{InsecurePlaintext: true})
	if err == nil {
		_, _, err = x.Next(ctx, []byte("\x00anna\x00secret"))
	}
	return err
}

// Calls that somebody waits for are not refused, however many they are.
func TestManyVerify(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		s := bound(&auth.Server{Passwords: auth.VerifierFunc(func(
			context.Context, auth.Proof,
		) (*auth.Identity, error) {
			<-release
			return &auth.Identity{User: "anna"}, nil
		})})
		var all sync.WaitGroup
		for range 2 * policy.MaxAbandoned {
			all.Go(func() {
				if err := askPlain(t.Context(), s); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		close(release)
		all.Wait()
	})
}

// bound is a server whose calls end with their context.
func bound(s *auth.Server) *policy.Verifiers {
	return policy.NewCalls(slog.New(slog.DiscardHandler), 0).Bound(s)
}
