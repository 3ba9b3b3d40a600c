package openspool

import "testing"

// TestPasswords go to the server, and nowhere else.
func TestPasswords(t *testing.T) {
	t.Setenv("PGPASSWORD", "of the environment")
	for where, want := range map[string]string{
		"postgres://u:of%20the%20URL@h/d":             "of the URL",
		"postgres://u@h/d":                            "of the environment",
		"postgresql://u@h,other:5433/d?sslmode=allow": "of the environment",
	} {
		p, err := Parse(where)
		if err != nil {
			t.Fatal(err)
		}
		for want, p := range map[string]Place{want: p, "of a file": p.WithPassword("of a file")} {
			config, err := p.config()
			if err != nil || config.ConnConfig.Password != want || config.MaxConns < connections {
				t.Errorf("%s: %+v, %v", where, config, err)
			}
		}
	}
}
