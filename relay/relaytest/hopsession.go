package relaytest

import (
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// session is one session of a Hop for go-smtp.
type session struct {
	hop  *Hop
	conn *smtp.Conn
	wire *hopConn
	step Step
	to   []string
}

// at comes to a stage and answers what the script says.
func (s *session) at(stage Stage) error {
	if s.ended() {
		return errCut
	}
	s.step.Stage = stage
	return s.give(s.hop.ask(s.step))
}

// give gives an answer.
func (s *session) give(a Answer) error {
	switch {
	case a.stall:
		<-s.hop.done
		return s.cut()
	case a.cut:
		return s.cut()
	case a.reply != nil && a.reply.Code == 421:
		_, _ = io.WriteString(s.conn.Conn(), a.line())
		return s.cut()
	case a.reply != nil:
		return a.reply
	}
	return nil
}

// cut ends the connection. What go-smtp then writes gets lost, and what it has
// read already is not run.
func (s *session) cut() error {
	if s.wire != nil {
		s.wire.ended.Store(true)
	}
	_ = s.conn.Conn().Close()
	return errCut
}

func (s *session) ended() bool { return s.wire != nil && s.wire.ended.Load() }

func (s *session) AuthMechanisms() []string {
	if s.hop.Users == nil {
		return nil
	}
	return []string{sasl.Plain}
}

func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if err := s.at(Auth); err != nil {
			return err
		}
		if want, ok := s.hop.Users[user]; !ok || want != password {
			return smtp.ErrAuthFailed
		}
		return nil
	}), nil
}

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	s.step.From, s.step.To, s.to = from, "", nil
	s.step.Transaction++
	return s.at(Mail)
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.step.To = to
	if err := s.at(Rcpt); err != nil {
		return err
	}
	s.to = append(s.to, to)
	return nil
}

func (s *session) Data(r io.Reader) error {
	content, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	return s.content(content, s.to[0], s.to)
}

// content answers for content that has come, and keeps it if the script takes
// it. What it answers for is the first of its recipients.
func (s *session) content(content []byte, first string, to []string) error {
	// For go-smtp a chunk (RFC 3030) that ends with the connection is whole.
	if s.ended() {
		return errCut
	}
	s.step.Stage, s.step.To = Content, first
	a := s.hop.ask(s.step)
	told := a == Answer{}
	if told || a.takes {
		s.hop.take(Taken{
			From: s.step.From, To: to, Content: content, Session: s.step.Session,
			Remote: s.remote(), TLS: s.step.TLS, At: time.Now(), Told: told,
		})
	}
	return s.give(a)
}

// remote is the address of the peer.
func (s *session) remote() netip.AddrPort {
	if a, ok := s.conn.Conn().RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort()
	}
	return netip.AddrPort{}
}

func (s *session) LMTPData(r io.Reader, status smtp.StatusCollector) error {
	content, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	for _, to := range s.to {
		status.SetStatus(to, s.content(content, to, []string{to}))
	}
	return nil
}

func (s *session) Reset()        { s.step.From, s.step.To, s.to = "", "", nil }
func (s *session) Logout() error { return nil }
