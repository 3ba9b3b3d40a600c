package outbound

// external is RFC 4422 appendix A: the certificate says who it is.
func (d *dialogue) external() (*reply, error) {
	return d.end(d.begin(d.hop.Username))
}

// plain is RFC 4616.
func (d *dialogue) plain() (*reply, error) {
	return d.end(d.begin("\x00" + d.hop.Username + "\x00" + d.hop.Password))
}

// user is LOGIN (draft-murchison-sasl-login). Challenges are not looked at:
// servers differ in their words, never in their order. A host that takes the
// user name for an unknown command gets it behind AUTH, as some clients send it
// always.
func (d *dialogue) user() (*reply, error) {
	rep, err := d.command("AUTH LOGIN", nil)
	if err != nil || rep.code != 334 {
		return rep, err
	}
	rep, err = d.command(d.encoded(d.hop.Username), nil)
	if err == nil && unknown(rep) {
		rep, err = d.begin(d.hop.Username)
	}
	return d.end(d.say(rep, err, d.hop.Password))
}
