package engine

import "path/filepath"

// PasswordFile tells the tests where the passwords are kept.
func PasswordFile(e *Engine) string { return filepath.Join(e.opts.Dir, "passwords.json") }
