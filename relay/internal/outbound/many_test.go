package outbound_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// narrow is a next hop that takes so many recipients for a message and refuses
// the others as too many. It counts what it has taken and refused.
type narrow struct {
	limit            int
	limits           string // said in EHLO
	copies           map[string]int
	refused, content int
}

func (n *narrow) serve(c net.Conn) {
	defer c.Close()
	r := bufio.NewReaderSize(c, 64<<10)
	var out strings.Builder
	out.WriteString("220 mx\r\n")
	var rcpts []string
	for {
		if r.Buffered() == 0 {
			io.WriteString(c, out.String())
			out.Reset()
		}
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		verb, arg, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch verb {
		case "EHLO":
			out.WriteString("250-mx\r\n" + n.limits + "250 PIPELINING\r\n")
		case "MAIL":
			rcpts = rcpts[:0]
			out.WriteString("250 2.1.0 ok\r\n")
		case "RCPT":
			if len(rcpts) == n.limit {
				n.refused++
				out.WriteString("452 4.5.3 too many recipients\r\n")
				continue
			}
			rcpts = append(rcpts, arg)
			out.WriteString("250 2.1.5 ok\r\n")
		case "DATA":
			out.WriteString("354 go on\r\n")
			io.WriteString(c, out.String())
			out.Reset()
			for line != ".\r\n" {
				if line, err = r.ReadString('\n'); err != nil {
					return
				}
			}
			for _, to := range rcpts {
				n.copies[to]++
			}
			n.content++
			out.WriteString("250 2.0.0 taken\r\n")
		default:
			return
		}
	}
}

// Of 5,000 recipients each gets one copy, in as few transactions as the next
// hop allows and in few round trips.
func TestManyRecipients(t *testing.T) {
	const recipients, trip = 5000, 50 * time.Millisecond
	for name, test := range map[string]struct {
		host                   narrow
		content, refused, most int
	}{
		"takes 100": {narrow{limit: 100}, 50, 200, 104},
		"takes 100, and said": {
			narrow{limit: 100, limits: "250-LIMITS RCPTMAX=100\r\n"}, 50, 0, 102,
		},
		"takes 1000": {narrow{limit: 1000}, 5, 400, 27},
		"takes all":  {narrow{limit: -1}, 1, 0, 18},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				host := &test.host
				host.copies = make(map[string]int)
				c := newClient(t, afar(dialPipe(host.serve), trip/2))
				to := make([]string, recipients)
				for i := range to {
					to[i] = fmt.Sprintf("recipient.%d@example.net", i)
				}
				began := time.Now()
				for i, res := range c.Deliver(context.Background(), newRequest("hi\r\n", to...)) {
					if !res.Delivered {
						t.Fatalf("recipient %d: %s", i, show(res))
					}
				}
				c.Close()
				trips := int(time.Since(began) / trip)
				if host.content != test.content || host.refused > test.refused ||
					trips > test.most {
					t.Errorf(
						"%d transactions, %d refusals, %d round trips; want %d, at most %d and %d",
						host.content, host.refused, trips, test.content, test.refused, test.most,
					)
				}
				for to, n := range host.copies {
					if n != 1 {
						t.Errorf("%s got %d copies", to, n)
					}
				}
				if n := len(host.copies); n != recipients {
					t.Errorf("%d recipients got one", n)
				}
				time.Sleep(time.Second) // for what is on its way
			})
		})
	}
}
