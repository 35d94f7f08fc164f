package fleet

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// A Stage is how far one authority of the fleet has taken the place of another. Between two stages all nodes must have followed;
// whoever calls sees to it.
type Stage string

const (
	// StageNone is no rotation.
	StageNone Stage = ""
	// StageTrust: there is a next authority, and nodes are to believe both. The first one still certifies.
	StageTrust Stage = "trust"
	// StageIssue: all nodes believe both, and are to get a certificate of the next one, which certifies from now on.
	StageIssue Stage = "issue"

	// promote: the next one takes the place of the first; the files are being moved.
	stagePromote Stage = "promote"
)

const (
	rotationFile = "rotation.json"
	nextFolder   = "next" // fleet-ca.{key,pem} of the next authority
)

// Stage says how far a rotation has come.
func (a *Authority) Stage() Stage { return a.stage }

// Rotate takes a rotation of the fleet's authority to its next stage, and returns the authority as it is from then on. From
// StageIssue it ends the rotation: the key of the first authority is destroyed, and what it certified is no longer taken where
// nodes follow. The sites' authority is not touched. It may be called again after a crash.
func (a *Authority) Rotate() (*Authority, error) {
	unlock, err := lock(a.dir)
	if err != nil {
		return nil, fmt.Errorf("fleet: lock the authority: %w", err)
	}
	err = a.rotate()
	unlock()
	if err != nil {
		return nil, fmt.Errorf("fleet: rotate the authority: %w", err)
	}
	return openAuthority(a.dir, a.network, a.now)
}

func (a *Authority) rotate() error {
	stage, err := resume(a.dir)
	if err != nil {
		return err
	}
	if stage != a.stage {
		return fmt.Errorf("it was taken to the stage %q meanwhile", stage)
	}
	switch stage {
	case StageTrust:
		return writeStage(a.dir, StageIssue)
	case StageIssue:
		if err := writeStage(a.dir, stagePromote); err != nil {
			return err
		}
		_, err := resume(a.dir)
		return err
	}
	// What nodes have in common is made of the first authority for ever.
	common := filepath.Join(a.dir, commonFile)
	if err := createFile(common, a.fleet.pem); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	next := filepath.Join(a.dir, nextFolder)
	if err := os.MkdirAll(next, 0o700); err != nil {
		return err
	}
	if _, err := a.signer(next, "fleet"); err != nil {
		return err
	}
	return writeStage(a.dir, StageTrust)
}

// Abandon ends a rotation that has not come to StageIssue: the next authority has certified nobody, and is forgotten. Nodes that
// believe it already are to be told again what they believe.
func (a *Authority) Abandon() (*Authority, error) {
	unlock, err := lock(a.dir)
	if err != nil {
		return nil, fmt.Errorf("fleet: lock the authority: %w", err)
	}
	stage, err := resume(a.dir)
	if err == nil && stage == StageNone {
		err = errors.New("fleet: no rotation is under way")
	} else if err == nil && stage != StageTrust {
		err = fmt.Errorf("fleet: a rotation at the stage %q is not to be given up; go on with it", stage)
	}
	if err == nil {
		err = os.Remove(filepath.Join(a.dir, rotationFile))
	}
	if err == nil {
		err = os.RemoveAll(filepath.Join(a.dir, nextFolder))
	}
	unlock()
	if err != nil {
		return nil, err
	}
	return openAuthority(a.dir, a.network, a.now)
}

// resume reads the stage of the authority in dir, which the caller has locked, and ends what a crash has left half done.
func resume(dir string) (Stage, error) {
	data, err := readFile(filepath.Join(dir, rotationFile))
	if errors.Is(err, fs.ErrNotExist) {
		return StageNone, nil
	}
	var r struct {
		Stage Stage `json:"stage"`
	}
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	if err != nil {
		return "", fmt.Errorf("fleet: stage of the authority's rotation: %s: %w", filepath.Join(dir, rotationFile), err)
	}
	switch r.Stage {
	case StageTrust, StageIssue:
		return r.Stage, nil
	case stagePromote:
	default:
		return "", fmt.Errorf("fleet: the authority's rotation is at the stage %q, which this program does not know", r.Stage)
	}
	for _, name := range []string{"fleet-ca.key", "fleet-ca.pem"} {
		if err := os.Rename(filepath.Join(dir, nextFolder, name), filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("fleet: end the authority's rotation: %w", err)
		}
	}
	err = syncDir(dir)
	if err == nil {
		err = os.Remove(filepath.Join(dir, rotationFile))
	}
	if err == nil {
		err = os.RemoveAll(filepath.Join(dir, nextFolder))
	}
	if err != nil {
		return "", fmt.Errorf("fleet: end the authority's rotation: %w", err)
	}
	return StageNone, nil
}

func writeStage(dir string, s Stage) error {
	data, err := json.Marshal(map[string]Stage{"stage": s})
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, rotationFile), append(data, '\n'))
}

// keepCommon puts common.key into a bundle, where there was more than one authority.
func (a *Authority) keepCommon(dir string) error {
	data, err := readFile(filepath.Join(a.dir, commonFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		_, err = keepFile(filepath.Join(dir, commonFile), data)
	}
	return err
}
