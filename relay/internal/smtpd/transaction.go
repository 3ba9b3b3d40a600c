package smtpd

import "github.com/postern-mail/postern/relay/internal/policy"

// transaction is what MAIL has begun, and what became of the commands that
// clients send behind it without waiting.
type transaction struct {
	mail *Mail // nil outside one
	held int64 // of the memory for recipients

	mailRefused bool // pipelined RCPT and DATA follow a refused MAIL
	rcptRefused bool
	dataRefused bool // by the last command
}

// empty says that nothing would be lost with the transaction.
func (t *transaction) empty() bool { return t.mail == nil || len(t.mail.Recipients) == 0 }

// reset forgets the transaction and gives back the memory.
func (t *transaction) reset(memory *policy.Budget) {
	t.mail = nil
	memory.Give(t.held)
	t.held = 0
	t.mailRefused, t.rcptRefused = false, false
}
