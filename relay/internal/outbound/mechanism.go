package outbound

// proof is what a mechanism logs on by.
type proof int

const (
	byNothing proof = iota
	byPassword
	byToken
	byCertificate
)

// proof tells what a next hop logs on by.
func (h *hop) proof() proof {
	switch {
	case h.Tokens != nil:
		return byToken
	case h.Password != "":
		return byPassword
	case h.Username != "" || h.smart() && len(h.Certificates) > 0:
		return byCertificate
	}
	return byNothing
}

// mechanism is one way to log on. Another one takes its exchange and a line in
// mechanisms.
type mechanism struct {
	name  string
	by    proof
	tls   bool // whatever the next hop allows
	scram bool
	talk  func(d *dialogue) (*reply, error)
}

// mechanisms are all that are spoken, in the order of preference: those that
// show no secret first, of these the ones bound to the TLS connection, and
// standards before what came before them. SCRAM-SHA-1 still shows less than
// PLAIN does.
func mechanisms() []mechanism {
	return []mechanism{
		{name: "EXTERNAL", by: byCertificate, tls: true, talk: (*dialogue).external},
		{name: "OAUTHBEARER", by: byToken, talk: (*dialogue).oauthBearer},
		{name: "XOAUTH2", by: byToken, talk: (*dialogue).xoauth2},
		{
			name: "SCRAM-SHA-256-PLUS", by: byPassword, tls: true, scram: true,
			talk: (*dialogue).scramSHA256Plus,
		},
		{name: "SCRAM-SHA-256", by: byPassword, scram: true, talk: (*dialogue).scramSHA256},
		{name: "SCRAM-SHA-1", by: byPassword, scram: true, talk: (*dialogue).scramSHA1},
		{name: "PLAIN", by: byPassword, talk: (*dialogue).plain},
		{name: "LOGIN", by: byPassword, talk: (*dialogue).user},
	}
}
