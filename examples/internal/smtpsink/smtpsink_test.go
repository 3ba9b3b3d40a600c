package smtpsink_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/postern-mail/postern/examples/internal/mailtest"
	"github.com/postern-mail/postern/examples/internal/smtpload"
	"github.com/postern-mail/postern/examples/internal/smtpsink"
)

func start(t *testing.T, c smtpsink.Config) *smtpsink.Sink {
	t.Helper()
	s, err := smtpsink.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// talk sends all at once and returns the codes of the answers.
func talk(t *testing.T, s *smtpsink.Sink, text string) (codes []string) {
	t.Helper()
	c, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(c); lines.Scan(); {
		if line := lines.Text(); line[3] == ' ' {
			codes = append(codes, line[:3])
		}
	}
	return codes
}

// TestTransactionsAreSentAhead has several transactions in one flight, with
// what looks like the end of content inside.
func TestTransactionsAreSentAhead(t *testing.T) {
	t.Parallel()
	long := strings.Repeat(strings.Repeat("x", 998)+"\r\n", 100) + "..\r\n.x\r\n"
	for _, tc := range []struct {
		name, text           string
		want                 []string
		messages, recipients int
	}{
		{
			"DATA",
			"EHLO a\r\nMAIL FROM:<a@a>\r\nRCPT TO:<b@b>\r\nRCPT TO:<c@c>\r\nDATA\r\n" + long +
				".\r\nMAIL FROM:<>\r\nRCPT TO:<d@d>\r\nDATA\r\n.\r\nQUIT\r\n",
			strings.Fields("220 250 250 250 250 354 250 250 250 354 250 221"), 2, 3,
		},
		{
			"BDAT",
			"EHLO a\r\nMAIL FROM:<a@a>\r\nRCPT TO:<b@b>\r\nBDAT 6\r\nNOOP\r\nBDAT 3 LAST\r\nabc" +
				"MAIL FROM:<a@a>\r\nRCPT TO:<b@b>\r\nBDAT 0 LAST\r\nQUIT\r\n",
			strings.Fields("220 250 250 250 250 250 250 250 250 221"), 2, 2,
		},
		{
			"the octets of a refused chunk are no commands",
			"EHLO a\r\nMAIL FROM:<a@a>\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\nRSET\r\nQUIT\r\n",
			strings.Fields("220 250 250 503 250 250 221"), 0, 0,
		},
		{
			"no recipients", "EHLO a\r\nRCPT TO:<a@a>\r\nMAIL FROM:<a@a>\r\nDATA\r\nQUIT\r\n",
			strings.Fields("220 250 503 250 503 221"), 0, 0,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, smtpsink.Config{Keywords: []string{"PIPELINING", "CHUNKING"}})
			if got := talk(t, s, tc.text); !slices.Equal(got, tc.want) {
				t.Errorf("answers %v, want %v", got, tc.want)
			}
			if s.Messages() != tc.messages || s.Recipients() != tc.recipients {
				t.Errorf("%d messages for %d recipients", s.Messages(), s.Recipients())
			}
		})
	}
}

// TestLoad sends a load, with TLS and without.
func TestLoad(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		for _, reuse := range []bool{false, true} {
			t.Run(fmt.Sprint("TLS ", secure, ", reused ", reuse), func(t *testing.T) {
				t.Parallel()
				var mu sync.Mutex
				got := map[string]int{}
				c := smtpsink.Config{Received: func(recipients []string) {
					mu.Lock()
					defer mu.Unlock()
					for _, one := range recipients {
						got[one]++
					}
				}}
				source := smtpload.Source{
					Load: smtpload.Load{Sessions: 3, Size: 50 << 10, Messages: 20, Reuse: reuse},
					Recipients: func(i int) []string {
						return []string{fmt.Sprintf("a%d@b.test", i), fmt.Sprintf("c%d@d.test", i)}
					},
				}
				if secure {
					c.TLS, source.TLS = certificates(t)
				}
				s := start(t, c)
				if err := source.Send(t.Context(), s.Addr()); err != nil {
					t.Fatal(err)
				}
				if err := s.Wait(t.Context(), 40); err != nil {
					t.Fatal(err)
				}
				if len(got) != 40 || s.Messages() != 20 {
					t.Errorf("%d messages for %v", s.Messages(), got)
				}
			})
		}
	}
}

func certificates(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	cert, key, client := mailtest.Certificate(t, t.TempDir())
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}}, client
}

// TestStopEndsSilentConnections sees that a sink that says nothing ends, and
// that the end of a load's context ends the load.
func TestStopEndsSilentConnections(t *testing.T) {
	t.Parallel()
	s := start(t, smtpsink.Config{Silent: true})
	ctx, cancel := context.WithCancel(t.Context())
	source := smtpload.Source{Load: smtpload.Load{Sessions: 1, Messages: 1}}
	ended := make(chan error)
	go func() { ended <- source.Send(ctx, s.Addr()) }()
	cancel()
	if err := <-ended; err == nil {
		t.Error("the load ended well")
	}
	s.Stop()
	if s.Messages() != 0 {
		t.Errorf("%d messages", s.Messages())
	}
}
