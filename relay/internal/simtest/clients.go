package simtest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/smtp"
	"strings"
	"sync"
	"time"
)

const clientCount = 6

// send has the clients send all messages of the plan.
func (w *World) send(ctx context.Context) {
	var wait sync.WaitGroup
	each := w.plan.Messages / clientCount
	gap := 2 * w.plan.Lasts / time.Duration(each)
	for c := range clientCount {
		wait.Go(func() {
			for range each {
				if !pause(ctx, w.between(0, gap)) {
					return
				}
				w.sendOne(c)
			}
		})
	}
	wait.Wait()
}

// sendOne sends a message in one of the ways there are.
func (w *World) sendOne(client int) {
	to := w.recipients()
	if w.chance(0.06) {
		w.burst(client)
	}
	from := w.from(client)
	body := w.body()
	content := message(from, to, body)
	s := sent{from: from, sum: digest(body), at: time.Now()}
	own := w.chance(0.5) // the application's
	if own {
		s.wish = w.wish(to[0])
	}
	w.history.send(to, s)
	var id string
	var err error
	if own {
		id, err = w.apply(from, to, content, s.wish)
	} else {
		id, err = w.speak(w.any().address, from, to, content)
	}
	if err == nil {
		w.history.acknowledge(to, id)
	}
	if err == nil && w.chance(0.08) {
		w.regrets.Go(func() { w.regret(to, id) })
	}
}

// recipients are new ones, of several domains.
func (w *World) recipients() []string {
	list := make([]string, 1+w.below(14))
	for i := range list {
		var domain string
		switch k := w.below(sickDomains + 5); {
		case k < sickDomains:
			domain = fmt.Sprintf("d%d.test", k)
		case k == sickDomains:
			domain = senderDomain
		case k == sickDomains+1:
			domain = "x.smart.test"
		case k == sickDomains+2:
			domain = []string{goneDomain, bareDomain, bareDomain, goodDomain}[w.below(4)]
		default:
			domain = goodDomain
		}
		list[i] = w.newAddress(domain)
	}
	return list
}

// newAddress is one that nobody has sent to.
func (w *World) newAddress(domain string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next++
	return fmt.Sprintf("r%d@%s", w.next, domain)
}

// body is a text of one line at least, now and then long or with 8 bits.
func (w *World) body() string {
	line := fmt.Sprintf("%d %s\r\n", w.below(1<<30), strings.Repeat("x", w.below(60)))
	switch n := w.below(20); {
	case n == 0:
		return strings.Repeat(line, 400+w.below(2000))
	case n < 4:
		return line + "Gr\u00fc\u00dfe\r\n"
	default:
		return strings.Repeat(line, 1+w.below(20))
	}
}

// message is a body with its header section.
func message(from string, to []string, body string) string {
	return "From: <" + from + ">\r\nSubject: " + to[0] + "\r\n\r\n" + body
}

var errLeft = errors.New("simtest: the client has left")

// speak sends a message by SMTP. A client that leaves does so at some point of
// the dialogue, and never learns what became of its message.
func (w *World) speak(address, from string, to []string, content string) (id string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	conn, err := w.net.DialFrom(ctx, w.clients, "tcp", address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline)
	leaves := -1
	if w.chance(0.1) && !w.isCalm() {
		leaves = w.below(len(to) + 3)
		w.history.count(ClientLeaves)
	}
	at := 0
	stays := func() error {
		if at++; at-1 == leaves {
			return errLeft
		}
		return nil
	}
	c, err := smtp.NewClient(conn, "relay.test")
	if err != nil {
		return "", err
	}
	if ok, _ := c.Extension("STARTTLS"); ok && w.chance(0.5) {
		if err := c.StartTLS(&tls.Config{InsecureSkipVerify: true}); err != nil {
			return "", err
		}
	}
	if err := errors.Join(c.Mail(from), stays()); err != nil {
		return "", err
	}
	for _, a := range to {
		if err := errors.Join(c.Rcpt(a), stays()); err != nil {
			return "", err
		}
	}
	return finish(c, content, stays)
}

// finish sends the content and returns the queue id of the reply.
func finish(c *smtp.Client, content string, stays func() error) (string, error) {
	id, err := c.Text.Cmd("DATA")
	if err != nil {
		return "", err
	}
	c.Text.StartResponse(id)
	_, _, err = c.Text.ReadResponse(354)
	c.Text.EndResponse(id)
	if err := errors.Join(err, stays()); err != nil {
		return "", err
	}
	d := c.Text.DotWriter()
	if _, err := d.Write([]byte(content)); err != nil {
		return "", err
	}
	if err := errors.Join(d.Close(), stays()); err != nil {
		return "", err
	}
	_, text, err := c.Text.ReadResponse(250)
	if err != nil {
		return "", err
	}
	words := strings.Fields(text)
	_ = c.Quit()
	return words[len(words)-1], nil
}
