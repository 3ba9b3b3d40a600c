package smtpd_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/internal/smtpd"
)

// fortress is a server whose users are guessed at. Their password is "secret".
type fortress struct {
	l     *memory
	seen  atomic.Int64 // guesses that the verifier has looked at
	stop  func()
	names int
}

// bcryptOf is the hash of the users' password.
func bcryptOf(t testing.TB, cost int) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), cost)
	if err != nil {
		t.Fatal(err)
	}
	return string(hash)
}

// defend begins to serve. Each password costs a hash.
func defend(t testing.TB, hash string, hasher *auth.Hasher, opt auth.ThrottleOptions) *fortress {
	t.Helper()
	f := &fortress{l: newMemory(), names: 50}
	c := open()
	c.PermissionGroups, c.AuthMechanisms = connector.ExchangeUsers, connector.BasicAuth
	p := settingsFor(t, discard{}, c)
	p.Auth = bounded(&auth.Server{
		Throttle: auth.NewThrottle(&opt),
		Passwords: auth.VerifierFunc(func(
			ctx context.Context, c auth.Proof,
		) (*auth.Identity, error) {
			if c.Password != "secret" {
				f.seen.Add(1)
			}
			match, err := hasher.Match(ctx, c, hash)
			if err == nil && !match {
				err = auth.ErrBadCredentials
			}
			return &auth.Identity{User: c.Username}, err
		}),
	})
	s := smtpd.New(smtpd.Config{Hostname: "mx.example.test", Settings: p})
	served := make(chan error, 1)
	go func() { served <- s.Serve(f.l) }()
	f.stop = func() {
		s.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}
	return f
}

// visitor is a client of the fortress.
type visitor struct {
	conn net.Conn
	in   *bufio.Reader
}

func (f *fortress) visit(from string) *visitor {
	client, server := net.Pipe()
	f.l.conns <- &addressed{Conn: server, remote: address(from)}
	v := &visitor{client, bufio.NewReader(client)}
	v.say("")
	v.say("EHLO client.test\r\n")
	return v
}

// say sends a line and returns the last line of the reply; empty when the
// connection has ended.
func (v *visitor) say(line string) string {
	var err error
	if line != "" { // a pipe waits for a reader even so
		_, err = io.WriteString(v.conn, line)
	}
	for err == nil {
		if line, err = v.in.ReadString('\n'); len(line) > 4 && line[3] == ' ' {
			return line
		}
	}
	return ""
}

func (v *visitor) logOn(user, password string) string {
	return v.say("AUTH PLAIN " + b64("\x00"+user+"\x00"+password) + "\r\n")
}

// work is what a user's mail program does: connect, log on, leave.
func (f *fortress) work(t testing.TB, i int) time.Duration {
	t.Helper()
	return f.workAs(t, i, 200+i%f.names, fmt.Sprint("user", i%f.names))
}

func (f *fortress) workAs(t testing.TB, i, source int, user string) time.Duration {
	t.Helper()
	began := time.Now()
	v := f.visit(fmt.Sprintf("192.0.2.%d:40000", source))
	defer v.conn.Close()
	if got := v.logOn(user, "secret"); !strings.HasPrefix(got, "235 ") {
		t.Errorf("logon %d: %q", i, got)
	}
	took := time.Since(began)
	v.say("QUIT\r\n")
	return took
}

// guess makes attempts from one address, on new connections when the server
// ends one, until there are n or next says no.
func (f *fortress) guess(source, first, n int, next func() bool) {
	var v *visitor
	defer func() {
		if v != nil {
			v.conn.Close()
		}
	}()
	for i := first; i < first+n && next(); i++ {
		if v == nil {
			v = f.visit(fmt.Sprintf("192.0.2.%d:50000", source))
		}
		if v.logOn(fmt.Sprint("user", (source+i)%f.names), fmt.Sprint("guess", i)) == "" {
			v.conn.Close()
			v = nil
		}
	}
}

// quantile sorts.
func quantile(took []time.Duration, p int) time.Duration {
	slices.Sort(took)
	return took[(len(took)-1)*p/100]
}

// While 100 addresses make guesses as fast as they can, a user logs on without
// delay, most guesses are refused unseen, and nothing is left of it afterwards.
func TestAttack(t *testing.T) {
	const sources, guesses, free = 100, 100, 10
	f := defend(
		t, bcryptOf(t, bcrypt.MinCost), auth.NewHasher(nil),
		auth.ThrottleOptions{
			Free: 5, SourceFree: free, MaxWait: 20 * time.Millisecond, Entries: 1024,
		},
	)
	defer f.stop()
	use := func() (heap uint64, goroutines int) {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse, runtime.NumGoroutine()
	}
	for i := range f.names {
		f.work(t, i)
	}
	heap, goroutines := use()
	var attack sync.WaitGroup
	for s := range sources {
		attack.Go(func() { f.guess(1+s, 0, guesses, func() bool { return true }) })
	}
	over := make(chan struct{})
	go func() {
		attack.Wait()
		close(over)
	}()
	var took []time.Duration
	for i, on := 0, true; on || i < f.names; i++ {
		took = append(took, f.work(t, i))
		select {
		case <-over:
			on = false
		default:
		}
	}
	// On a busy machine too. Without turns the user would wait behind all
	// guesses.
	if half := quantile(took, 50); half > time.Second {
		t.Errorf("a logon takes %v under attack", half)
	}
	// Each source is looked at as often as it may fail, and some more because
	// of attempts made side by side.
	if seen := f.seen.Load(); seen > sources*(free+3) {
		t.Errorf("%d of %d guesses were looked at", seen, sources*guesses)
	}
	for range 100 { // sessions end when they notice that the client has gone
		if _, n := use(); n <= goroutines+10 {
			break
		}
		runtime.Gosched()
	}
	if after, n := use(); after > heap+8<<20 || n > goroutines+10 {
		t.Errorf("%d octets and %d goroutines, %d and %d before", after, n, heap, goroutines)
	}
	t.Logf(
		"%d logons, half within %v, 99%% within %v; %d guesses seen", len(took), quantile(took, 50),
		quantile(took, 99), f.seen.Load(),
	)
}

// While 100 addresses fail 10,000 times a minute, users log on with a 99th
// percentile under twice that of an idle server. One in five comes from a place
// where it has not been before. The clock is a fake one and a hash takes its
// time by it, so that the figures tell how the work is shared out, whatever
// else the machine does. With a single worker, which does not break off a hash
// under way, users may wait for one; and it takes longer until the attackers
// have given themselves away.
func TestLogonsUnderAttack(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		workers int
		onset   time.Duration
	}{{1, 10 * time.Second}, {2, 0}} {
		t.Run(fmt.Sprint(c.workers, " workers"), func(t *testing.T) {
			t.Parallel()
			idle, attacked := logonsBeside(t, c.workers, 0, c.onset), logonsBeside(
				t, c.workers, 10_000, c.onset,
			)
			if attacked > 2*idle || attacked == 2*idle && c.workers > 1 {
				t.Errorf("99%% of the logons within %v, idle %v", attacked, idle)
			}
		})
	}
}

// logonsBeside returns the 99th percentile of the logons over a minute with so
// many failures, of those after the onset.
func logonsBeside(t *testing.T, workers, failures int, onset time.Duration) (p99 time.Duration) {
	const (
		sources = 100
		runs    = time.Minute
	)
	synctest.Test(t, func(t *testing.T) {
		slow := func(_, password string) (bool, error) {
			time.Sleep(50 * time.Millisecond)
			return password == "secret", nil
		}
		hasher := auth.NewHasher(&auth.HasherOptions{Workers: workers, Other: slow})
		f := defend(t, "$slow$", hasher, auth.ThrottleOptions{})
		defer f.stop()
		for i := range f.names {
			f.work(t, i)
		}
		var (
			clients sync.WaitGroup
			failed  atomic.Int64
			mu      sync.Mutex
			took    []time.Duration
		)
		begun := time.Now()
		for i := range failures {
			clients.Go(func() {
				time.Sleep(runs * time.Duration(i) / time.Duration(failures))
				f.guess(1+i%sources, i/sources, 1, func() bool { return true })
				failed.Add(1)
			})
		}
		for i := 0; time.Since(begun) < runs; i++ {
			clients.Go(func() {
				early := time.Since(begun) < onset
				var d time.Duration
				if i%5 > 0 {
					d = f.work(t, i)
				} else {
					d = f.workAs(t, i, 101+i%90, fmt.Sprint("new", i))
				}
				mu.Lock()
				defer mu.Unlock()
				if !early {
					took = append(took, d)
				}
			})
			time.Sleep(173 * time.Millisecond)
		}
		clients.Wait()
		p99 = quantile(took, 99)
		t.Logf("%d failures: %d logons, half within %v, 99%% within %v, all within %v; %d "+
			"guesses looked at",
			failed.Load(), len(took), quantile(took, 50), p99, quantile(took, 100), f.seen.Load())
		if failed.Load() < int64(failures) {
			t.Errorf("only %d logons failed", failed.Load())
		}
	})
	return p99
}

// BenchmarkAttack is a user's session up to the reply to AUTH, idle and while
// 100 addresses fail 10,000 times a minute: in the first ten seconds and from
// then on.
func BenchmarkAttack(b *testing.B) {
	for _, attacked := range []bool{false, true} {
		b.Run(fmt.Sprintf("attacked=%v", attacked), func(b *testing.B) {
			f := defend(
				b, bcryptOf(b, bcrypt.DefaultCost), auth.NewHasher(nil),
				auth.ThrottleOptions{},
			)
			defer f.stop()
			for i := range f.names {
				f.work(b, i)
			}
			ctx, cancel := context.WithCancel(b.Context())
			var attack sync.WaitGroup
			for s := range 100 {
				if !attacked {
					break
				}
				attack.Go(func() {
					tick := time.NewTicker(600 * time.Millisecond)
					defer tick.Stop()
					f.guess(1+s, 0, 1<<30, func() bool {
						select {
						case <-tick.C:
						case <-ctx.Done():
						}
						return ctx.Err() == nil
					})
				})
			}
			// In the first seconds nobody knows yet who the attackers are.
			var onset, took []time.Duration
			for i, began := 0, time.Now(); time.Since(began) < 10*time.Second; i++ {
				onset = append(onset, f.work(b, i))
			}
			for i := 0; b.Loop(); i++ {
				took = append(took, f.work(b, i))
			}
			cancel()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			attack.Wait()
			b.ReportMetric(float64(quantile(onset, 99).Microseconds())/1000, "onset-p99-ms")
			b.ReportMetric(float64(quantile(took, 50).Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(quantile(took, 99).Microseconds())/1000, "p99-ms")
			b.ReportMetric(float64(f.seen.Load()), "guesses-seen")
			b.ReportMetric(float64(m.HeapAlloc)/(1<<20), "heap-MiB")
		})
	}
}
