package smtpd_test

import (
	"net"
	"strings"
	"testing"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// The server serves a client that others have written, with every extension
// that this one knows.
func TestOthersClient(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		near, far := net.Pipe()
		r.l.conns <- &addressed{Conn: far, remote: address("192.0.2.7:40000")}
		c, err := smtp.NewClientStartTLS(near, clientTLS())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.Auth(sasl.NewPlainClient("", "alice", "secret")); err != nil {
			t.Error(err)
		}
		author := "a@example.test"
		err = c.Mail("s@example.test", &smtp.MailOptions{
			Body: smtp.Body8BitMIME, Size: 9, UTF8: true, Return: smtp.DSNReturnHeaders,
			EnvelopeID: "an id+", Auth: &author,
		})
		if err != nil {
			t.Fatal(err)
		}
		err = c.Rcpt("ü@example.test", &smtp.RcptOptions{
			Notify:                []smtp.DSNNotify{smtp.DSNNotifyDelayed, smtp.DSNNotifyFailure},
			OriginalRecipientType: smtp.DSNAddressTypeUTF8, OriginalRecipient: "ö@example.test",
		})
		if err != nil {
			t.Fatal(err)
		}
		w, err := c.Data()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("..\r\nnext\r\n")); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		list := r.backend.taken()
		if len(list) != 1 || list[0].body != "..\r\nnext\r\n" {
			t.Fatalf("taken: %+v", list)
		}
		m := list[0].mail
		rc := m.Recipients[0]
		if m.Size != 9 || m.Body != "8BITMIME" || !m.UTF8 || m.Return != "HDRS" ||
			m.EnvelopeID != "an id+" || m.Auth == nil || *m.Auth != author ||
			!strings.Contains(rc.Notify.String(), "DELAY") ||
			rc.Original != "UTF-8;ö@example.test" || rc.To.String() != "ü@example.test" {
			t.Errorf("%+v", m)
		}
	})
}
