package outbound_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/internal/outbound"
)

// FuzzPeer lets a peer say anything. Whatever it is, every recipient has a
// result, and none is delivered before the whole content went out and the peer
// has said yes to it.
func FuzzPeer(f *testing.F) {
	f.Add(
		[]byte("220 mx\r\n250 mx\r\n250 ok\r\n250 ok\r\n550 no\r\n354 go\r\n250 taken\r\n"), false,
	)
	f.Add(
		[]byte(
			"220 mx\r\n250-mx\r\n250 PIPELINING\r\n250 ok\r\n250 ok\r\n452 4.5.3 many\r\n354 "+
				"go\r\n250 taken\r\n",
		),
		false,
	)
	f.Add(
		[]byte(
			"220 mx\r\n250-mx\r\n250-LIMITS RCPTMAX=1\r\n250 CHUNKING\r\n250 ok\r\n250 ok\r\n"+
				"250 taken\r\n",
		),
		true,
	)
	f.Add([]byte("220 mx\r\n250-mx\r\n250 STARTTLS\r\n220 go\r\n"), false)
	f.Add(
		[]byte("220 mx\r\n250-mx\r\n250 CHUNKING\r\n250 ok\r\n250 ok\r\n250 ok\r\n500 what\r\n"),
		false,
	)
	f.Add([]byte("421 no\r\n"), true)
	f.Fuzz(func(t *testing.T, says []byte, lmtp bool) {
		var peers []*babbler
		c := outbound.New(outbound.Config{
			Hostname: "relay.example.test",
			Dial: func(context.Context, string, string) (net.Conn, error) {
				if len(peers) == 8 {
					return nil, errors.New("enough")
				}
				peers = append(peers, &babbler{says: bytes.NewReader(says)})
				return peers[len(peers)-1], nil
			},
		})
		defer c.Close()
		r := newRequest("Subject: x\r\n\r\n.hi\r\n", "a@example.net", "b@example.net")
		r.Hop.Hosts, r.Hop.LMTP = []string{"10.0.0.1", "10.0.0.2"}, lmtp
		for range 2 {
			res := c.Deliver(context.Background(), r)
			if len(res) != 2 {
				t.Fatalf("%d results", len(res))
			}
			for _, one := range res {
				if !one.Delivered && one.Err == nil {
					t.Errorf("no result: %+v", one)
				}
				if !one.Delivered {
					continue
				}
				if one.Reply.Code/100 != 2 {
					t.Errorf("delivered with code %d", one.Reply.Code)
				}
				if !bytes.Contains(said(peers), []byte("\r\n\r\n..hi\r\n.\r\n")) &&
					!bytes.Contains(said(peers), []byte(" LAST\r\nSubject: x\r\n\r\n.hi\r\n")) {
					t.Errorf("delivered without content: %q", said(peers))
				}
			}
		}
	})
}

func said(peers []*babbler) (all []byte) {
	for _, p := range peers {
		all = append(all, p.heard.Bytes()...)
	}
	return all
}

// babbler is a peer that says what it has to say without listening, and hangs
// up.
type babbler struct {
	net.Conn
	says  io.Reader
	heard bytes.Buffer
}

func (b *babbler) Read(p []byte) (int, error)       { return b.says.Read(p[:min(len(p), 64)]) }
func (b *babbler) Write(p []byte) (int, error)      { return b.heard.Write(p) }
func (b *babbler) Close() error                     { return nil }
func (b *babbler) SetDeadline(time.Time) error      { return nil }
func (b *babbler) SetReadDeadline(time.Time) error  { return nil }
func (b *babbler) SetWriteDeadline(time.Time) error { return nil }
