// Package intake takes one message in, wherever it comes from: a session, a
// client that does not speak SMTP, or the application itself. It reads the
// header, takes it through an ordered list of steps, writes header and body to
// the store, signed where the relay vouches for the author, and returns what is
// to be committed. See [Intake.Prepare].
package intake
