package peertest_test

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
)

// serve gives every connection to a function, for the length of the test.
func serve(t *testing.T, handle func(net.Conn, *bufio.Scanner)) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				handle(c, bufio.NewScanner(c))
			}()
		}
	}()
	return l.Addr().String()
}

// greylist is a policy server that tells every recipient to come again, once.
func greylist(t *testing.T) string {
	var seen sync.Map
	return serve(t, func(c net.Conn, lines *bufio.Scanner) {
		var recipient string
		for lines.Scan() {
			if name, value, ok := strings.Cut(lines.Text(), "="); ok {
				if name == "recipient" {
					recipient = value
				}
				continue
			}
			action := "dunno"
			if _, again := seen.LoadOrStore(recipient, true); !again {
				action = "451 4.7.1 Greylisted, come again"
			}
			fmt.Fprintf(c, "action=%s\n\n", action)
		}
	})
}

// authServer knows the user, in Dovecot's protocol.
func authServer(t *testing.T) string {
	return serve(t, func(c net.Conn, lines *bufio.Scanner) {
		fmt.Fprint(
			c,
			"VERSION\t1\t1\nCUID\t1\nCOOKIE\t00\nMECH\tPLAIN\tplaintext\n"+
				"MECH\tLOGIN\tplaintext\nDONE\n",
		)
		given := map[string][]string{}
		for lines.Scan() {
			f := strings.Split(lines.Text(), "\t")
			if f[0] != "AUTH" && f[0] != "CONT" {
				continue
			}
			id, response := f[1], strings.TrimPrefix(f[len(f)-1], "resp=")
			if f[0] == "AUTH" {
				delete(given, id)
			}
			if f[0] == "CONT" || strings.HasPrefix(f[len(f)-1], "resp=") {
				b, _ := base64.StdEncoding.DecodeString(response)
				given[id] = append(
					given[id], strings.Split(strings.TrimPrefix(string(b), "\x00"), "\x00")...,
				)
			}
			switch {
			case len(given[id]) < 2:
				fmt.Fprintf(
					c, "CONT\t%s\t%s\n", id,
					base64.StdEncoding.EncodeToString(
						[]byte([]string{"Username:", "Password:"}[len(given[id])]),
					),
				)
			case slices.Equal(given[id], []string{user, password}):
				fmt.Fprintf(c, "OK\t%s\tuser=%s\n", id, user)
			default:
				fmt.Fprintf(c, "FAIL\t%s\n", id)
			}
		}
	})
}
