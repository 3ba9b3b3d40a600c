package ldapauth_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/auth/ldapauth"
)

// answers is how long tests wait for a server that is silent: one that is not
// may take as long on a busy machine.
const answers = 5 * time.Second

func TestFailOver(t *testing.T) {
	t.Parallel()
	first, second := newSlapd(t, true), newSlapd(t, true)
	opt := searching(first)
	opt.URLs, opt.TLS = []string{first.ldaps, second.ldaps}, trusting(first, second)
	v := open(t, opt)
	for _, tt := range []struct {
		stop *slapd
		down bool
	}{{nil, false}, {first, false}, {second, true}} {
		if tt.stop != nil {
			if tt.stop.requests() == nil {
				t.Error("was not asked")
			}
			tt.stop.stop()
		}
		for range 2 {
			for password, want := range map[string]error{
				"secret": nil, "guess": auth.ErrBadCredentials,
			} {
				err := verify(t, v, "anna", password)
				if tt.down {
					unknown(t, err, "connection refused")
				} else if err != want {
					t.Error(password, err)
				}
			}
		}
	}
}

// answering returns the address of a server that answers each connection once,
// and counts them.
func answering(t *testing.T, answer []byte) (address string, asked <-chan struct{}) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	count := make(chan struct{}, 100)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			count <- struct{}{}
			c.Read(make([]byte, 1000))
			c.Write(answer)
			c.Close()
		}
	}()
	return l.Addr().String(), count
}

// Answers that look like one about the user, and like one to a bind.
func TestOddAnswers(t *testing.T) {
	// LDAPMessage 1, an ExtendedResponse: 49, invalid credentials. So StartTLS
	// is refused.
	address, _ := answering(t, []byte{0x30, 12, 2, 1, 1, 0x78, 7, 10, 1, 49, 4, 0, 4, 0})
	opt := naming(directory)
	opt.URLs = []string{"ldap://" + address}
	unknown(t, verify(t, open(t, opt), "anna", "secret"), "StartTLS")

	// A SearchResultEntry with uid: anna and without a DN, and a
	// SearchResultDone.
	address, asked := answering(t, []byte("\x30\x18\x02\x01\x01\x64\x13\x04\x00"+
		"\x30\x0f\x30\x0d\x04\x03uid\x31\x06\x04\x04anna"+
		"\x30\x0c\x02\x01\x01\x65\x07\x0a\x01\x00\x04\x00\x04\x00"))
	opt = ldapauth.Config{
		URLs: []string{"ldap://" + address}, AllowPlaintext: true, Filter: "(uid={user})",
	}
	unknown(t, verify(t, open(t, opt), "anna", "secret"), "has no name")
	if len(asked) != 1 {
		t.Errorf("asked %d times", len(asked))
	}

	address, _ = answering(t, []byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
	opt.URLs = []string{"ldap://" + address}
	unknown(t, verify(t, open(t, opt), "anna", "secret"), address)
}

// A server that is silent, or is unable, costs the time of one logon in a
// while.
func TestServerDown(t *testing.T) {
	t.Parallel()
	// LDAPMessage 1, a BindResponse: 52, unavailable.
	unable, asked := answering(t, []byte{0x30, 12, 2, 1, 1, 0x61, 7, 10, 1, 52, 4, 0, 4, 0})
	silent := newProxy(t, strings.TrimPrefix(directory.ldap, "ldap://"))
	silent.silence(true)
	attempts := func(which string) int {
		if which == "silent" {
			n, _, _ := silent.counts()
			return n
		}
		return len(asked)
	}
	for which, address := range map[string]string{
		"silent": silent.Addr().String(), "unable": unable,
	} {
		for _, options := range []func(*slapd) ldapauth.Config{searching, naming} {
			before := attempts(which)
			opt := options(directory)
			opt.URLs, opt.StartTLS, opt.AllowPlaintext = []string{
				"ldap://" + address, directory.ldap,
			}, false, true
			opt.Timeout = answers
			v := open(t, opt)
			now := time.Now()
			ldapauth.SetClock(v, func() time.Time { return now })
			for range 5 {
				if err := verify(t, v, "anna", "secret"); err != nil {
					t.Error(which, err)
				}
			}
			if n := attempts(which) - before; n != 1 {
				t.Errorf("%s: tried %d times", which, n)
			}
			now = now.Add(time.Hour)
			if err := verify(t, v, "anna", "secret"); err != nil {
				t.Error(which, err)
			}
			if n := attempts(which) - before; n != 2 {
				t.Errorf("%s: tried %d times after an hour", which, n)
			}
			opt.URLs = opt.URLs[:1]
			unknown(t, verify(t, open(t, opt), "anna", "secret"), address)
		}
	}
}

// A server that falls silent is found out once, by one of the connections that
// are kept.
func TestServerFallsSilent(t *testing.T) {
	t.Parallel()
	p := newProxy(t, strings.TrimPrefix(directory.ldaps, "ldaps://"))
	opt := searching(directory)
	opt.URLs, opt.Timeout = []string{"ldaps://" + p.Addr().String(), directory.ldaps}, answers
	v := open(t, opt)
	for range 3 {
		if err := verify(t, v, "anna", "secret"); err != nil {
			t.Error(err)
		}
		p.silence(true)
	}
	if accepted, _, _ := p.counts(); accepted != 2 || len(p.unheard) != 1 {
		t.Errorf("%d connections, %d of them used in vain", accepted, len(p.unheard))
	}
}

// A server that is back, and one whose client has gone away, is used like
// others.
func TestServerComesBack(t *testing.T) {
	t.Parallel()
	p := newProxy(t, strings.TrimPrefix(directory.ldaps, "ldaps://"))
	opt := searching(directory)
	opt.URLs, opt.Timeout = []string{"ldaps://" + p.Addr().String()}, answers
	alone := open(t, opt)
	opt.URLs, opt.Timeout = append(opt.URLs, directory.ldaps), time.Minute
	first := open(t, opt)

	p.silence(true)
	unknown(t, verify(t, alone, "anna", "secret"), "deadline exceeded")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := first.Verify(
		ctx, auth.Proof{Username: "anna", Password: "secret"},
	); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	p.silence(false)
	for _, v := range []*ldapauth.Verifier{alone, first} {
		before, _, _ := p.counts()
		for range 3 {
			if err := verify(t, v, "anna", "secret"); err != nil {
				t.Error(err)
			}
		}
		if after, _, _ := p.counts(); after != before+2 {
			t.Errorf("%d connections instead of 2", after-before)
		}
	}

	// Busy connections do not last for ever either: what has changed must
	// count.
	before, _, _ := p.counts()
	start := time.Now()
	for later := time.Duration(0); later < 6*time.Minute; later += 30 * time.Second {
		ldapauth.SetClock(first, func() time.Time { return start.Add(later) })
		if err := verify(t, first, "anna", "secret"); err != nil {
			t.Error(err)
		}
	}
	if after, _, _ := p.counts(); after != before+2 {
		t.Errorf("%d new connections in six minutes", after-before)
	}
}

func TestContext(t *testing.T) {
	t.Parallel()
	silent := newProxy(t, strings.TrimPrefix(directory.ldap, "ldap://"))
	silent.silence(true)
	for _, url := range []string{"ldap://", "ldaps://"} {
		opt := naming(directory)
		opt.URLs, opt.Timeout, opt.Conns = []string{url + silent.Addr().String()}, time.Minute, 1
		v := open(t, opt)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 3 { // one is served, the others wait for it
			wg.Go(func() {
				_, err := v.Verify(ctx, auth.Proof{Username: "anna", Password: "secret"})
				if !errors.Is(err, context.Canceled) || errors.Is(err, auth.ErrBadCredentials) {
					t.Error(err)
				}
			})
		}
		time.AfterFunc(100*time.Millisecond, cancel)
		wg.Wait()
	}

	opt := naming(directory)
	opt.URLs, opt.Timeout, opt.Conns = []string{
		"ldap://" + silent.Addr().String(),
	}, 200*time.Millisecond, 1
	v := open(t, opt)
	errs := make(chan error)
	for range 8 { // nobody waits for all others
		go func() {
			_, err := v.Verify(t.Context(), auth.Proof{Username: "anna", Password: "secret"})
			errs <- err
		}()
	}
	busy := 0
	for range 8 {
		err := <-errs
		unknown(t, err, "")
		if strings.Contains(err.Error(), "too many logons") {
			busy++
		}
	}
	if busy < 4 {
		t.Errorf("%d of 8 gave up waiting", busy)
	}
}

func TestPool(t *testing.T) {
	t.Parallel()
	for _, options := range []func(*slapd) ldapauth.Config{searching, naming} {
		opt := options(directory)
		target := strings.TrimPrefix(strings.TrimPrefix(opt.URLs[0], "ldaps://"), "ldap://")
		p := newProxy(t, target)
		opt.URLs = []string{strings.Replace(opt.URLs[0], target, p.Addr().String(), 1)}
		opt.Conns = 2
		limit := 2
		if opt.DN == "" {
			limit = 4 // two that search, two that bind
		}
		v := open(t, opt)
		many := func() {
			t.Helper()
			var wg sync.WaitGroup
			for i := range 40 {
				wg.Go(func() {
					password, want := "secret", error(nil)
					if i%2 == 1 {
						password, want = "guess", auth.ErrBadCredentials
					}
					if _, err := v.Verify(
						t.Context(), auth.Proof{Username: "anna", Password: password},
					); err != want {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		}
		many()
		accepted, most, _ := p.counts()
		if accepted > limit || most > limit {
			t.Errorf("%d connections, %d at a time", accepted, most)
		}
		// The server has started anew: connections that are kept are dead.
		p.cut()
		many()
		if _, most, _ := p.counts(); most > 2*limit { // those cut may be counted still
			t.Errorf("%d connections at a time", most)
		}
		// One at a time needs one connection of each kind.
		start := time.Now()
		for _, later := range []time.Duration{30 * time.Second, 70 * time.Second} {
			ldapauth.SetClock(v, func() time.Time { return start.Add(later) })
			if err := verify(t, v, "anna", "secret"); err != nil {
				t.Error(err)
			}
		}
		p.await(t, limit/2)
		// Kept for too long.
		before, _, _ := p.counts()
		ldapauth.SetClock(v, func() time.Time { return start.Add(time.Hour) })
		many()
		if after, _, _ := p.counts(); after == before {
			t.Error("old connections are used")
		}
		v.Close()
		many()
		p.await(t, 0)
	}
}
