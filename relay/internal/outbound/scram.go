package outbound

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/xdg-go/scram"
)

var (
	// errUnfit is an exchange that came to nothing before the password was
	// proved: another mechanism may do.
	errUnfit = errors.New("cannot log on by SCRAM")
	// errUnproved is a peer that did not prove in turn that it knows the
	// password: it gets no other chance to learn it.
	errUnproved = errors.New("the host does not prove by SCRAM that it knows the password")

	errRounds = errors.New("too many rounds asked for")
)

// maxRounds bounds the work that a peer may ask for: a third of a second.
const maxRounds = 1_000_000

func (d *dialogue) scramSHA256Plus() (*reply, error) { return d.scram(scram.SHA256, true) }

func (d *dialogue) scramSHA256() (*reply, error) { return d.scram(scram.SHA256, false) }

func (d *dialogue) scramSHA1() (*reply, error) { return d.scram(scram.SHA1, false) }

// scram is RFC 5802, with SHA-256 RFC 7677.
func (d *dialogue) scram(hash scram.HashGeneratorFcn, plus bool) (*reply, error) {
	talk, err := d.conversation(hash, plus)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnfit, err)
	}
	first, _ := talk.Step("") // never fails
	rep, err := d.begin(first)
	if err != nil || rep.code != 334 {
		return rep, err
	}
	final, fault := d.prove(talk, rep)
	if fault != nil {
		if _, err := d.command("*", nil); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("%w: %w", errUnfit, fault)
	}
	rep, err = d.command(d.encoded(final), nil)
	switch {
	case err != nil:
		return rep, err
	case rep.class() == 2:
		return nil, errUnproved
	case rep.code != 334:
		return rep, nil
	}
	last, err := rep.challenge()
	if err == nil && strings.HasPrefix(last, "e=") {
		return d.end(d.command("", nil)) // RFC 5802 section 5.1: refused
	}
	if _, err = talk.Step(last); err != nil {
		return nil, errUnproved
	}
	return d.command("", nil)
}

// prove gives the answer to the salt of the peer.
func (d *dialogue) prove(talk *scram.ClientConversation, rep *reply) (string, error) {
	challenge, err := rep.challenge()
	if err != nil {
		return "", err
	}
	_, salt, _ := strings.Cut(challenge, ",s=")
	_, rounds, _ := strings.Cut(salt, ",i=")
	rounds, _, _ = strings.Cut(rounds, ",")
	if n, err := strconv.Atoi(rounds); err != nil || n > maxRounds {
		return "", errRounds
	}
	d.login.salted(salt)
	return talk.Step(challenge)
}

// conversation begins an exchange. One without a binding says where it could
// have had one, so that nobody can hide from it that the peer offers it.
func (d *dialogue) conversation(
	hash scram.HashGeneratorFcn, plus bool,
) (*scram.ClientConversation, error) {
	client, err := d.login.scramClient(d.name, func() (*scram.Client, error) {
		client, err := hash.NewClient(d.hop.Username, d.hop.Password, "")
		if err != nil { // no text of RFC 4013: some hosts take it as it is
			return hash.NewClientUnprepped(d.hop.Username, d.hop.Password, "")
		}
		return client, nil
	})
	if err != nil {
		return nil, err
	}
	tc, secure := d.net.(*tls.Conn)
	switch {
	case plus:
		binding, err := bindingOf(tc)
		return client.NewConversationWithChannelBinding(binding), err
	case secure:
		return client.NewConversationAdvertisingChannelBinding(), nil
	}
	return client.NewConversation(), nil
}

// bindingOf ties an exchange to its connection: by RFC 9266, which is for TLS
// 1.3, or the certificate (RFC 5929 section 4).
func bindingOf(tc *tls.Conn) (scram.ChannelBinding, error) {
	state := tc.ConnectionState()
	if state.Version >= tls.VersionTLS13 {
		return scram.NewTLSExporterBinding(&state)
	}
	return scram.NewTLSServerEndpointBinding(&state)
}
