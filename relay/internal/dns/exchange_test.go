package dns_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	miekg "github.com/miekg/dns"

	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/internal/dns"
)

const here = "a.example. 60 TXT here"

// An answer that is cut short, or cannot be read, is asked for by TCP.
func TestTruncatedAnswerIsAskedForByTCP(t *testing.T) {
	for name, cut := range map[string]func(*miekg.Msg, []byte) []byte{
		"truncated": func(query *miekg.Msg, _ []byte) []byte {
			m := new(miekg.Msg)
			m.SetReply(query)
			m.Truncated = true
			return pack(t, m)
		},
		"truncated in a record": func(_ *miekg.Msg, b []byte) []byte {
			b = b[:len(b)-3]
			b[2] |= 2
			return b
		},
		"broken off": func(_ *miekg.Msg, b []byte) []byte { return b[:len(b)-3] },
		"names that point at themselves": func(query *miekg.Msg, _ []byte) []byte {
			m := new(miekg.Msg)
			m.SetReply(query)
			b := pack(t, m)
			at := uint16(len(b))
			binary.BigEndian.PutUint16(b[6:], 1)
			b = binary.BigEndian.AppendUint16(b, 0xc000|at) // a name: itself
			return append(b, 0, 16, 0, 1, 0, 0, 0, 60, 0, 2, 1, 'x')
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, func(network string, query *miekg.Msg) [][]byte {
				b := says(t, query, miekg.RcodeSuccess, here)
				if network == "udp" {
					b = cut(query, b)
				}
				return [][]byte{b}
			})
			a, err := ask(t, s).LookupTXT(t.Context(), "a.example")
			if err != nil || len(a.Records) != 1 || a.Records[0] != "here" {
				t.Errorf("%+v, %v", a, err)
			}
			if got := s.questions(); fmt.Sprint(got) != "[udp a.example. TXT tcp a.example. TXT]" {
				t.Errorf("asked %q", got)
			}
		})
	}
}

// Datagrams that are no answer to the question are ignored.
func TestForgedAnswersAreIgnored(t *testing.T) {
	s := newServer(t, func(network string, query *miekg.Msg) [][]byte {
		forged := func(change func(*miekg.Msg)) []byte {
			m := query.Copy()
			m.Response, m.RecursionAvailable = true, true
			rr, _ := miekg.NewRR("a.example. 60 TXT forged")
			m.Answer = []miekg.RR{rr}
			change(m)
			return pack(t, m)
		}
		return [][]byte{
			nil, {1}, []byte("garbage that is longer than a header of a message"),
			forged(func(m *miekg.Msg) { m.Id++ }),
			forged(func(m *miekg.Msg) { m.Response = false }),
			forged(func(m *miekg.Msg) { m.Question[0].Name = "b.example." }),
			forged(func(m *miekg.Msg) { m.Question[0].Qtype = miekg.TypeMX }),
			forged(func(m *miekg.Msg) { m.Question = nil }),
			forged(func(m *miekg.Msg) { m.Opcode = miekg.OpcodeNotify }),
			says(t, query, miekg.RcodeSuccess, here),
		}
	})
	a, err := ask(t, s).LookupTXT(t.Context(), "a.example")
	if err != nil || fmt.Sprint(a.Records) != "[here]" {
		t.Errorf("%+v, %v", a, err)
	}
}

// Records outside the answer section count for nothing.
func TestOtherSectionsDoNotCount(t *testing.T) {
	s := newServer(t, func(_ string, query *miekg.Msg) [][]byte {
		m := new(miekg.Msg)
		m.SetReply(query)
		m.RecursionAvailable = true
		rr, _ := miekg.NewRR("a.example. 60 TXT elsewhere")
		m.Ns, m.Extra = []miekg.RR{rr}, []miekg.RR{rr}
		return [][]byte{pack(t, m)}
	})
	a, err := ask(t, s).LookupTXT(t.Context(), "a.example")
	if !errors.Is(err, delivery.ErrNoRecords) || len(a.Records) > 0 {
		t.Errorf("%+v, %v", a, err)
	}
}

// A server that fails is left for the next, and asked last from then on.
func TestNextServerAnswers(t *testing.T) {
	for name, rcode := range map[string]int{
		"failure": miekg.RcodeServerFailure, "refused": miekg.RcodeRefused,
		"no recursion": miekg.RcodeSuccess, "no EDNS0": miekg.RcodeFormatError,
	} {
		t.Run(name, func(t *testing.T) {
			bad := newServer(t, func(_ string, query *miekg.Msg) [][]byte {
				m := new(miekg.Msg)
				m.SetRcode(query, rcode)
				return [][]byte{pack(t, m)}
			})
			good := fixed(t, map[string][]string{"a.example. TXT": {here}})
			a, err := ask(t, bad, good).LookupTXT(t.Context(), "a.example")
			if err != nil || fmt.Sprint(a.Records) != "[here]" {
				t.Errorf("%+v, %v", a, err)
			}
		})
	}
	t.Run("nobody there", func(t *testing.T) {
		gone := newServer(t, nil)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		gone.addr = l.Addr().String()
		good := fixed(t, map[string][]string{"a.example. TXT": {here}, "b.example. TXT": {
			"b.example. 60 TXT there",
		}})
		r := ask(t, gone, good)
		if _, err := r.LookupTXT(t.Context(), "a.example"); err != nil {
			t.Error(err)
		}
		if _, err := r.LookupTXT(t.Context(), "b.example"); err != nil {
			t.Error(err)
		}
	})
}

// An old server gets a question without EDNS0.
func TestServerWithoutEDNS(t *testing.T) {
	s := newServer(t, func(_ string, query *miekg.Msg) [][]byte {
		if query.IsEdns0() != nil {
			m := new(miekg.Msg)
			m.SetRcode(query, miekg.RcodeFormatError)
			m.Question = nil
			return [][]byte{pack(t, m)}
		}
		return [][]byte{says(t, query, miekg.RcodeSuccess, here)}
	})
	a, err := ask(t, s).LookupTXT(t.Context(), "a.example")
	if err != nil || fmt.Sprint(a.Records) != "[here]" {
		t.Errorf("%+v, %v", a, err)
	}
}

// Silence has an end, for who waits and for the question, and who waits for it
// holds up nobody else.
func TestSilenceHasAnEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		silent := func(_ context.Context, network, _ string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go func() {
				buf := make([]byte, 2000)
				theirs.Read(buf)
			}()
			return ours, nil
		}
		r := dns.New(dns.Config{
			ResolvConf: "none", Hosts: "none", Servers: []string{"192.0.2.1:53", "192.0.2.2:53"},
			Dial: silent,
		})
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := r.LookupMX(ctx, "a.example")
		if e, ok := errors.AsType[net.Error](err); !ok || !e.Timeout() ||
			!errors.Is(err, context.DeadlineExceeded) || delivery.IsNotFound(err) {
			t.Errorf("error %v", err)
		}
		if d := time.Since(began); d != time.Second {
			t.Errorf("after %v", d)
		}
		_, err = r.LookupMX(t.Context(), "a.example")
		if e, ok := errors.AsType[net.Error](err); !ok || !e.Timeout() || delivery.IsNotFound(err) {
			t.Errorf("error %v", err)
		}
		if d := time.Since(began); d != 20*time.Second { // 2 servers, twice 5 seconds each
			t.Errorf("after %v", d)
		}
	})
}

// AD counts from a loopback server, and from others if resolv.conf says so; and
// only if every part of the way has it.
func TestAuthenticData(t *testing.T) {
	var secure atomic.Bool
	s := newServer(t, func(_ string, query *miekg.Msg) [][]byte {
		m := new(miekg.Msg)
		m.SetReply(query)
		m.RecursionAvailable, m.AuthenticatedData = true, secure.Load()
		name := query.Question[0].Name
		record := name + " 60 TXT x"
		switch name {
		case "alias.example.":
			record = name + " 60 CNAME b.example."
		case "half.example.":
			record = name + " 60 CNAME insecure.example."
		case "insecure.example.":
			m.AuthenticatedData = false
		case "none.example.":
			m.Rcode = miekg.RcodeNameError
			record = ""
		}
		if record != "" {
			rr, _ := miekg.NewRR(record)
			m.Answer = []miekg.RR{rr}
		}
		return [][]byte{pack(t, m)}
	})
	r := ask(t, s)
	expect := func(r *dns.Resolver, name string, want bool) {
		t.Helper()
		if a, err := r.LookupTXT(t.Context(), name); a.Authentic != want {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
	expect(r, "plain.example", false)
	secure.Store(true)
	for name, want := range map[string]bool{
		"a.example": true, "alias.example": true, "half.example": false, "insecure.example": false,
		"none.example": true,
	} {
		expect(r, name, want)
	}
	// The same server, as if it were elsewhere.
	for options, want := range map[string]bool{"": false, "options trust-ad": true} {
		conf := filepath.Join(t.TempDir(), "resolv.conf")
		err := os.WriteFile(conf, []byte("nameserver 192.0.2.53\n"+options+"\n"), 0o600)
		if err != nil {
			t.Fatal(err)
		}
		far := dns.New(dns.Config{
			ResolvConf: conf, Hosts: "none",
			Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
				if addr != "192.0.2.53:53" {
					t.Errorf("asked %s", addr)
				}
				return new(net.Dialer).DialContext(ctx, network, s.addr)
			},
		})
		expect(far, "a.example", want)
	}
}

// The settings change with the file.
func TestResolvConfIsReadAgain(t *testing.T) {
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	write := func(text string, at time.Time) {
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		os.Chtimes(conf, at, at)
	}
	synctest.Test(t, func(t *testing.T) {
		var dialled []string
		r := dns.New(dns.Config{
			ResolvConf: conf, Hosts: "none",
			Dial: func(_ context.Context, network, addr string) (net.Conn, error) {
				if dialled = append(dialled, addr); len(dialled) > 20 {
					t.Error("too many")
				}
				return nil, errors.New("nobody there")
			},
		})
		next := func(want string) {
			t.Helper()
			dialled = nil
			r.LookupMX(t.Context(), "a.example")
			if got := strings.Join(
				slices.Compact(slices.Sorted(slices.Values(dialled))), " ",
			); got != want {
				t.Errorf("asked %q, want %q", got, want)
			}
			time.Sleep(10 * time.Second) // failures are forgotten
		}
		next("127.0.0.1:53 [::1]:53")
		write("nameserver 192.0.2.1\n", time.Unix(1, 0))
		next("192.0.2.1:53")
		write("nameserver 192.0.2.2\nnameserver 2001:db8::1\n", time.Unix(2, 0))
		next("192.0.2.2:53 [2001:db8::1]:53")
		os.Remove(conf)
		next("192.0.2.2:53 [2001:db8::1]:53")
	})
}
