package dns_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	miekg "github.com/miekg/dns"

	"github.com/postern-mail/postern/relay/internal/dns"
)

// asker counts questions and answers them after a while.
type asker struct {
	mu    sync.Mutex
	asked []string
	after time.Duration
	ttl   time.Duration
	size  int // of a text
	err   error
}

func (a *asker) ask(
	_ context.Context, name string, _ uint16,
) ([]string, time.Duration, error) {
	a.mu.Lock()
	a.asked = append(a.asked, name)
	a.mu.Unlock()
	after := a.after
	if strings.HasPrefix(name, "slow.") {
		after = 20 * time.Second
	}
	time.Sleep(after)
	if a.err != nil {
		return nil, a.ttl, a.err
	}
	return []string{strings.Repeat("x", max(a.size, 1))}, a.ttl, nil
}

func (a *asker) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.asked)
}

func (a *asker) resolver() *dns.Resolver {
	r := dns.New(dns.Config{ResolvConf: "none", Hosts: "none"})
	r.Ask(a.ask)
	return r
}

// Answers keep for their TTL, for a second at least and a day at most.
func TestAnswersKeepForTheirTTL(t *testing.T) {
	for ttl, want := range map[time.Duration]time.Duration{
		0: time.Second, time.Minute: time.Minute, time.Hour: time.Hour,
		30 * 24 * time.Hour: 24 * time.Hour,
	} {
		synctest.Test(t, func(t *testing.T) {
			a := &asker{ttl: ttl}
			r := a.resolver()
			r.LookupTXT(t.Context(), "a.example")
			time.Sleep(want - time.Millisecond)
			r.LookupTXT(t.Context(), "A.example.")
			if n := a.count(); n != 1 {
				t.Errorf("TTL %v: asked %d times within %v", ttl, n, want)
			}
			time.Sleep(time.Millisecond)
			r.LookupTXT(t.Context(), "a.example")
			if n := a.count(); n != 2 {
				t.Errorf("TTL %v: asked %d times after %v", ttl, n, want)
			}
		})
	}
}

// What the SOA record says of absence, and how long failures keep.
func TestAbsenceAndFailuresKeep(t *testing.T) {
	const soa = "example. %d SOA a.example. b.example. 1 1 1 1 %d"
	for name, test := range map[string]struct {
		rcode int
		soa   string
		keeps time.Duration
	}{
		"minimum": {miekg.RcodeNameError, fmt.Sprintf(soa, 600, 60), time.Minute},
		"TTL":     {miekg.RcodeSuccess, fmt.Sprintf(soa, 60, 600), time.Minute},
		"capped":  {miekg.RcodeNameError, fmt.Sprintf(soa, 86400, 86400), 15 * time.Minute},
		"no SOA":  {miekg.RcodeNameError, "", 5 * time.Second},
		"another's SOA": {
			miekg.RcodeNameError,
			strings.Replace(fmt.Sprintf(soa, 60, 60), "example.", "other.", 1),
			5 * time.Second,
		},
		"failure":          {miekg.RcodeServerFailure, "", 3 * time.Second},
		"TTL out of range": {miekg.RcodeSuccess, "a.example. 2147483648 TXT x", time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := 0
				r := dns.New(dns.Config{
					ResolvConf: "none", Hosts: "none", Servers: []string{"192.0.2.1:53"},
					Dial: func(context.Context, string, string) (net.Conn, error) {
						n++
						ours, theirs := net.Pipe()
						go func() {
							buf := make([]byte, 2000)
							k, _ := theirs.Read(buf)
							query := new(miekg.Msg)
							query.Unpack(buf[:k])
							var list []string
							if test.soa != "" {
								list = []string{test.soa}
							}
							theirs.Write(says(t, query, test.rcode, list...))
						}()
						return ours, nil
					},
				})
				r.LookupTXT(t.Context(), "a.example")
				first := n
				time.Sleep(test.keeps - time.Millisecond)
				r.LookupTXT(t.Context(), "a.example")
				if n != first {
					t.Errorf("asked again within %v", test.keeps)
				}
				time.Sleep(time.Millisecond)
				r.LookupTXT(t.Context(), "a.example")
				if n == first {
					t.Errorf("not asked again after %v", test.keeps)
				}
			})
		})
	}
}

// A question goes out once for all who wait, goes on without them, and a slow
// one holds up nobody else.
func TestOneQuestionForAllWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &asker{after: 10 * time.Second, ttl: time.Hour}
		r := a.resolver()
		gone, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		go r.LookupTXT(gone, "a.example") // whoever asks first goes first
		synctest.Wait()
		var wait sync.WaitGroup
		for range 100 {
			wait.Go(func() {
				if _, err := r.LookupTXT(t.Context(), "a.example"); err != nil {
					t.Error(err)
				}
			})
		}
		began := time.Now()
		go r.LookupTXT(t.Context(), "slow.example")
		wait.Wait()
		if n, d := a.count(), time.Since(began); n != 2 || d != 10*time.Second {
			t.Errorf("%d questions, %v", n, d)
		}
		time.Sleep(time.Minute)
	})
}

// Strangers' names do not take more memory than there is for them.
func TestCacheIsBounded(t *testing.T) {
	for _, size := range []int{1, 10_000} {
		a := &asker{ttl: time.Hour, size: size}
		r := a.resolver()
		for i := range dns.MaxReplies + 500 {
			r.LookupTXT(t.Context(), fmt.Sprintf("n%d.example", i))
			if replies, bytes := r.Held(); replies > dns.MaxReplies || bytes > dns.MaxBytes {
				t.Fatalf("%d replies, %d bytes", replies, bytes)
			}
		}
		if replies, bytes := r.Held(); replies < dns.MaxReplies && bytes < dns.MaxBytes*9/10 {
			t.Errorf("%d replies, %d bytes only", replies, bytes)
		}
	}
}

// So many questions are under way at once, and no more.
func TestQuestionsUnderWayAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &asker{after: 10 * time.Second, ttl: time.Hour}
		r := a.resolver()
		for i := range dns.MaxFlights {
			go r.LookupTXT(t.Context(), fmt.Sprintf("n%d.example", i))
		}
		synctest.Wait()
		if _, err := r.LookupTXT(t.Context(), "one-more.example"); err == nil {
			t.Error("one more was asked")
		}
		time.Sleep(time.Minute)
		if _, err := r.LookupTXT(t.Context(), "one-more.example"); err != nil {
			t.Error(err)
		}
	})
}

// What a caller does to an answer is not in the next one.
func TestAnswersAreCopies(t *testing.T) {
	s := fixed(t, map[string][]string{
		"a.example. MX": {"a.example. 60 MX 1 b.example.", "a.example. 60 MX 2 c.example."},
	})
	r := ask(t, s)
	first, _ := r.LookupMX(t.Context(), "a.example")
	first.Records[0].Host, first.Records[1] = "changed", nil
	again, err := r.LookupMX(t.Context(), "a.example")
	if err != nil || again.Records[0].Host != "b.example." || again.Records[1] == nil {
		t.Errorf("%+v, %v", again.Records[0], err)
	}
}

// A failure is not kept in place of an answer for long, nor told as one.
func TestFailureIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &asker{ttl: 3 * time.Second, err: errors.New("no luck")}
		r := a.resolver()
		if _, err := r.LookupTXT(t.Context(), "a.example"); err == nil {
			t.Error("no error")
		}
		a.err = nil
		time.Sleep(3 * time.Second)
		if _, err := r.LookupTXT(t.Context(), "a.example"); err != nil {
			t.Error(err)
		}
	})
}
