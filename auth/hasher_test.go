package auth_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/auth"
)

const argon2Sum = "nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"

func TestHasherMatch(t *testing.T) {
	t.Parallel()
	scramKeys, err := auth.SCRAMKeys("secret", []byte("0123456789abcdef"), 4096)
	if err != nil {
		t.Fatal(err)
	}
	h := auth.NewHasher(nil)
	for _, stored := range []string{
		hash(t, "secret"),
		auth.HashPassword("secret"),
		scramKeys,
	} {
		for _, tt := range []struct {
			password string
			want     bool
		}{
			{"secret", true}, {"Secret", false}, {"secret\x00", false}, {"secret\x00secret", false},
			{strings.Repeat("x", 1000), false},
		} {
			got, err := h.Match(t.Context(), auth.Proof{Password: tt.password}, stored)
			if got != tt.want || err != nil {
				t.Errorf("%q against %s: %v, %v", tt.password, stored, got, err)
			}
		}
	}
	// From the tests of the reference implementation of argon2.
	if ok, err := h.Match(
		t.Context(), auth.Proof{Password: "password"},
		"$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$"+argon2Sum,
	); !ok {
		t.Error("argon2id", err)
	}
	if a, b := auth.HashPassword("x"), auth.HashPassword("x"); a == b {
		t.Error("the same salt twice")
	}
	for _, stored := range []string{
		"", "hunter2", "$6$hunter2$x", "{SHA}hunter2", "$2", "$2y$10$hunter2", "SCRAM-SHA-256$",
		"SCRAM-SHA-256$4096:hunter2",
		"$argon2id$", "$argon2i$v=19$m=64,t=1,p=1$c29tZXNhbHQ$" + argon2Sum,
		"$argon2id$v=16$m=64,t=1,p=1$c29tZXNhbHQ$" + argon2Sum,
		"$argon2id$v=19x$m=64,t=1,p=1$c29tZXNhbHQ$" + argon2Sum,
		"$argon2id$v=19$m=64,t=1,p=1x$c29tZXNhbHQ$" + argon2Sum,
		"$argon2id$v=19$m=64,t=0,p=1$c29tZXNhbHQ$" + argon2Sum,
		"$argon2id$v=19$m=64,t=1,p=0$c29tZXNhbHQ$" + argon2Sum,
		"$argon2id$v=19$m=64,t=1,p=256$c29tZXNhbHQ$" + argon2Sum,
		"$argon2id$v=19$m=4294967295,t=1,p=1$c29tZXNhbHQ$" + argon2Sum,
		"$argon2id$v=19$m=64,t=4294967295,p=1$c29tZXNhbHQ$" + argon2Sum,
		"$argon2id$v=19$m=64,t=1,p=1$$" + argon2Sum,
		"$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$",
		strings.Replace(scramKeys, "$4096:", "$1:", 1),
		strings.Replace(scramKeys, "$4096:", "$4000000000:", 1),
	} {
		if got, err := h.Match(t.Context(), auth.Proof{Password: "hunter2"}, stored); got ||
			err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v, %v", stored, got, err)
		}
	}
}

func TestHasherOther(t *testing.T) {
	t.Parallel()
	h := auth.NewHasher(&auth.HasherOptions{Other: func(hash, password string) (bool, error) {
		if rest, ok := strings.CutPrefix(hash, "{PLAIN}"); ok {
			return rest == password, nil
		}
		return false, errors.New("unknown")
	}})
	for _, tt := range []struct {
		hash, password string
		want           bool
		fault          bool
	}{
		{"{PLAIN}secret", "secret", true, false},
		{"{PLAIN}secret", "guess", false, false},
		{"x", "secret", false, true},
		{hash(t, "secret"), "secret", true, false},
		{"$2y$x", "secret", false, true},
	} {
		got, err := h.Match(t.Context(), auth.Proof{Password: tt.password}, tt.hash)
		if got != tt.want || (err != nil) != tt.fault {
			t.Errorf("%s: %v, %v", tt.hash, got, err)
		}
	}
}

// Sources take turns, and the calls of each come in order. No source fills the
// queue.
func TestHasherTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var order []string
		note := func(_, name string) (bool, error) {
			mu.Lock()
			defer mu.Unlock()
			order = append(order, name)
			return true, nil
		}
		h := auth.NewHasher(&auth.HasherOptions{Workers: 1, MaxQueue: 10, Other: note})
		release := h.Hold()
		var all sync.WaitGroup
		call := func(ctx context.Context, source, name string) {
			all.Go(func() {
				c := auth.Proof{
					Password: name, Remote: netip.AddrPortFrom(netip.MustParseAddr(source), 1),
				}
				switch _, err := h.Match(ctx, c, "x"); {
				case errors.Is(err, auth.ErrBusy):
					note("", name+" busy")
				case errors.Is(err, context.Canceled):
					note("", name+" gone")
				case err != nil:
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		ctx, cancel := context.WithCancel(t.Context())
		for i := range 5 {
			call(t.Context(), fmt.Sprint("2001:db8::", i), fmt.Sprint("a", i))
		}
		call(ctx, "192.0.2.1", "b0")
		call(ctx, "192.0.2.2", "c0")
		call(t.Context(), "192.0.2.2", "c1")
		call(t.Context(), "192.0.2.3", "d0")
		call(t.Context(), "2001:db8::", "a5")
		call(t.Context(), "192.0.2.4", "e0")
		cancel()
		synctest.Wait()
		mu.Lock()
		first := strings.Join(order[:1], " ")
		mu.Unlock()
		if first != "a5 busy" { // and not e0, which is the first of its source
			t.Errorf("first %s", first)
		}
		order = order[3:]
		release()
		all.Wait()
		if got, want := strings.Join(order, " "), "a0 c1 d0 e0 a1 a2 a3 a4"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		if idle, queued, sources := h.Idle(); idle != 1 || queued != 0 || sources != 0 {
			t.Errorf("%d idle, %d queued, %d sources", idle, queued, sources)
		}
	})
}

// Regulars come first and suspects last, who never get all workers.
func TestHasherLanes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var order []string
		slow := func(_, name string) (bool, error) {
			mu.Lock()
			order = append(order, name)
			mu.Unlock()
			time.Sleep(time.Second)
			return true, nil
		}
		h := auth.NewHasher(&auth.HasherOptions{Workers: 2, MaxQueue: 4, Other: slow})
		var all sync.WaitGroup
		call := func(who, name string) {
			all.Go(func() {
				if _, err := h.Match(
					t.Context(), auth.As(auth.Proof{Password: name}, who), "x",
				); err != nil {
					mu.Lock()
					order = append(order, name+" busy")
					mu.Unlock()
				}
			})
			synctest.Wait()
		}
		for i := range 6 {
			call("suspect", fmt.Sprint("s", i))
		}
		time.Sleep(500 * time.Millisecond) // so that no two end together
		call("newcomer", "n0")
		call("doubtful", "d0")
		call("newcomer", "n1")
		for i := range 2 {
			call("regular", fmt.Sprint("r", i))
		}
		all.Wait()
		if got, want := strings.Join(
			order, " ",
		), "s0 s5 busy n0 r0 r1 n1 d0 s1 s2 s3 s4"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		if idle, queued, rest := h.Idle(); idle != 2 || queued != 0 || rest != 0 {
			t.Errorf("%d idle, %d queued, %d left", idle, queued, rest)
		}
	})
}

// There are as many workers as processors.
func TestHasherWorkers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var running, most atomic.Int64
		h := auth.NewHasher(&auth.HasherOptions{Other: func(string, string) (bool, error) {
			n := running.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			time.Sleep(time.Second)
			running.Add(-1)
			return true, nil
		}})
		var all sync.WaitGroup
		began := time.Now()
		for range 4 * runtime.GOMAXPROCS(0) {
			all.Go(func() { h.Match(t.Context(), auth.Proof{}, "x") })
		}
		all.Wait()
		if took := time.Since(began); took != 4*time.Second ||
			most.Load() > int64(runtime.GOMAXPROCS(0)) {
			t.Errorf("%d at once, %v", most.Load(), took)
		}
	})
}

func TestHtpasswdFormats(t *testing.T) {
	t.Parallel()
	keys, err := auth.NewSCRAMKeys("secret")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "users")
	write(
		t, path,
		fmt.Sprintf(
			"anna:%s\nbert:%s\ncarl:%s\nu\u0308ber:%s\n", hash(t, "secret"),
			auth.HashPassword("secret"), keys, hash(t, "secret"),
		),
		1,
	)
	h, err := auth.OpenHtpasswd(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range []string{"anna", "bert", "carl", "über", "nobody"} {
		want := "yes"
		if user == "nobody" {
			want = "no"
		}
		if got := outcome(t, h, user, "guess"); got != "no" {
			t.Errorf("%s with a guess: %s", user, got)
		}
		if got := outcome(t, h, user, "secret"); got != want {
			t.Errorf("%s: %s", user, got)
		}
		text, id, err := h.SCRAMKeys(t.Context(), auth.Proof{Username: user})
		if user == "carl" {
			if text != keys || id.User != "carl" || err != nil {
				t.Errorf("%s: %s, %+v, %v", user, text, id, err)
			}
		} else if !errors.Is(err, auth.ErrBadCredentials) || text != "" {
			t.Errorf("%s: %s, %v", user, text, err)
		}
	}
}

func FuzzHasher(f *testing.F) {
	f.Add("$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$"+argon2Sum, "secret")
	f.Add(
		"SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"+
			"WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"+
			"wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
		"pencil",
	)
	f.Add("$2a$04$"+strings.Repeat(".", 53), "x")
	h := auth.NewHasher(nil)
	f.Fuzz(func(t *testing.T, stored, password string) {
		if len(stored) > 5 &&
			(strings.HasPrefix(stored, "$2") && stored[4:6] > "05" || strings.Contains(
				stored, "m=",
			) && !strings.Contains(stored, "m=64,t=1,p=1")) {
			return // would take too long
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		h.Match(ctx, auth.Proof{Password: password}, stored)
	})
}

func BenchmarkHasher(b *testing.B) {
	h := auth.NewHasher(nil)
	stored, err := auth.SCRAMKeys("secret", []byte("0123456789abcdef"), 4096)
	if err != nil {
		b.Fatal(err)
	}
	for _, tt := range []struct{ name, hash string }{
		{"argon2id", auth.HashPassword("secret")}, {"scram4096", stored},
	} {
		b.Run(tt.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if ok, err := h.Match(
					b.Context(), auth.Proof{Password: "secret"}, tt.hash,
				); !ok {
					b.Fatal(err)
				}
			}
		})
	}
}
