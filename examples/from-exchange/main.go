// Command from-exchange turns the transport configuration of a Microsoft
// Exchange server into a file for the gateway.
//
//	from-exchange -receive receive.json -accepted accepted.json -send send.json -permissions permissions.json > gateway.toml
//
// The documentation of package connector/exchange has the PowerShell lines that
// write those four files. Comments at the end of the output say what has no
// counterpart or another meaning; read them before you start a gateway. The
// certificate, the users, the recipients and the passwords are in no dump: the
// output names the files for them.
package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/postern-mail/postern/connector/exchange"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run returns 0 when all went well, 1 when a dump is not readable, and 2 for
// wrong flags.
func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("from-exchange", flag.ContinueOnError)
	flags.SetOutput(stderr)
	receive := flags.String("receive", "", "`file` with the output of Get-ReceiveConnector")
	accepted := flags.String("accepted", "", "`file` with the output of Get-AcceptedDomain")
	send := flags.String("send", "", "`file` with the output of Get-SendConnector")
	permissions := flags.String(
		"permissions", "", "`file` with the output of Get-ADPermission for the receive connectors",
	)
	server := flags.String(
		"server", "", "`name` of the server whose receive connectors are wanted (default all)",
	)
	hostname := flags.String("hostname", "", "`name` of the gateway (default the server's)")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil: // which Parse has told
		return 2
	case flags.NArg() > 0:
		flags.Usage()
		return 2
	}
	d := exchange.Dump{Server: *server}
	err := errors.Join(
		read(*receive, &d.ReceiveConnectors), read(*accepted, &d.AcceptedDomains),
		read(*send, &d.SendConnectors), read(*permissions, &d.Permissions),
	)
	if err == nil {
		err = convert(d, *hostname, stdout)
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	return 0
}

func read(name string, into *[]byte) (err error) {
	if name != "" {
		*into, err = os.ReadFile(name)
	}
	return err
}

// convert writes the gateway's file and the notes.
func convert(d exchange.Dump, hostname string, w io.Writer) error {
	r, err := exchange.Read(d)
	if err != nil {
		return err
	}
	f := newFile(r, cmp.Or(hostname, r.Hostname, "relay.example.com"))
	if err := f.write(w); err != nil {
		return err
	}
	heading := "\n# What differs from Exchange:\n"
	for _, n := range r.Notes {
		// A note is one line, so that nothing in a dump can add a key here.
		if _, err := fmt.Fprintf(w, "%s# %s\n", heading, n); err != nil {
			return err
		}
		heading = ""
	}
	return nil
}
