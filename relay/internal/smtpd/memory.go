package smtpd

const (
	// recipientMemory is about what an accepted recipient takes up beside its
	// address, in the session and in the message that is made of it.
	recipientMemory = 512
	// freeRecipients are as many as any message has.
	freeRecipients = 20
)

// memory is what the recipient counts in a Budget that follows on so many
// others.
func (rc *Rcpt) memory(others int) int64 {
	if others < freeRecipients {
		return 0
	}
	return recipientMemory + 2*int64(len(rc.To.String())+len(rc.Original))
}
