package lab

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// page is what the lab's site shows at its root.
const page = `<!doctype html>
<meta charset="utf-8">
<title>hither, at a distance</title>
<h1>Hello from far away</h1>
<p>This came to an edge near you over the whole distance, once.
`

// writeSite makes the folder that a lab's origin serves, the same in each lab: page and objects.
func writeSite(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "index.html"), []byte(page), 0o600); err != nil {
		return err
	}
	for path, size := range Sizes() {
		noise := rand.NewChaCha8([32]byte([]byte(fmt.Sprintf("%-32s", path))))
		content := make([]byte, size)
		noise.Read(content)
		if err := os.WriteFile(filepath.Join(dir, path), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}
