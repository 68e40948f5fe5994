/* SPDX-License-Identifier: Apache-2.0 */
/* doctor: the vault's directory, the file system it is on, its key file. */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "doctor.h"
#include "session.h"

/* Numbers that <linux/magic.h> of the oldest supported system does not all have. */
static const struct {
    unsigned long type;
    const char *name;
    bool is_remote; /* else it forgets */
} file_systems[] = {
    {TMPFS_MAGIC, "tmpfs", false}, {0x858458f6, "ramfs", false}, {0x6969, "NFS", true},    {0x517b, "SMB", true},
    {0xff534d42, "CIFS", true},    {0xfe534d42, "SMB2", true},   {0x01021997, "9p", true}, {0x00c36400, "Ceph", true},
    {0x5346414f, "AFS", true},     {0x65735546, "FUSE", true},
};

static void
check_file_system(doctor *d)
{
    const char *dir = d->c->vault_dir;
    struct statfs fs;

    if (statfs(dir, &fs) != 0) {
        doctor_say(d, DOCTOR_FAIL, "file-system", NULL, "%s: %s", dir, strerror(errno));
        return;
    }
    for (size_t i = 0; i < sizeof file_systems / sizeof file_systems[0]; i++) {
        if ((unsigned long)fs.f_type != file_systems[i].type)
            continue;
        if (file_systems[i].is_remote)
            doctor_say(d, DOCTOR_WARN, "file-system", "keep the vault on a local disk",
                       "the vault is on %s, where locks between machines and durable writes are not assured",
                       file_systems[i].name);
        else
            doctor_say(d, DOCTOR_WARN, "file-system", "keep the vault on a disk",
                       "the vault is on %s and gone when the machine stops", file_systems[i].name);
        return;
    }
    doctor_say(d, DOCTOR_OK, "file-system", NULL, "the vault is on a local file system");
}

/* A directory or file that only this user may touch. */
static void
check_mode(doctor *d, const char *check, const char *what, const char *path)
{
    struct stat st;

    if (stat(path, &st) != 0)
        doctor_say(d, DOCTOR_FAIL, check, NULL, "%s %s: %s", what, path, strerror(errno));
    else if (st.st_uid != geteuid())
        doctor_say(d, DOCTOR_WARN, check, "run as its owner", "%s %s belongs to another user (uid %u)", what, path,
                   (unsigned)st.st_uid);
    else if ((st.st_mode & 022) != 0)
        doctor_say(d, DOCTOR_FAIL, check, "take the permissions of others away (chmod go=)",
                   "%s %s can be changed by other users (mode %04o)", what, path, (unsigned)(st.st_mode & 07777));
    else if ((st.st_mode & 077) != 0)
        doctor_say(d, S_ISDIR(st.st_mode) ? DOCTOR_WARN : DOCTOR_FAIL, check,
                   "take the permissions of others away (chmod go=)", "%s %s can be read by other users (mode %04o)",
                   what, path, (unsigned)(st.st_mode & 07777));
    else
        doctor_say(d, DOCTOR_OK, check, NULL, "%s %s is this user's alone", what, path);
}

static void
check_writable(doctor *d)
{
    struct statvfs fs;
    const char *dir = d->c->vault_dir;

    if (statvfs(dir, &fs) == 0 && (fs.f_flag & ST_RDONLY) != 0)
        doctor_say(d, DOCTOR_WARN, "writable", NULL, "the file system is mounted read-only: only reading works");
    else if (faccessat(AT_FDCWD, dir, W_OK, AT_EACCESS) != 0)
        doctor_say(d, DOCTOR_WARN, "writable", NULL, "this user cannot write to the vault: only reading works");
    else
        doctor_say(d, DOCTOR_OK, "writable", NULL, "the vault can be written");
}

static void
check_key_file(doctor *d)
{
    char *path = cli_key_file(d->c, d->c->facts.vault_id);
    struct stat key, vault;

    if (path == NULL) {
        doctor_say(d, DOCTOR_FAIL, "key-file", "give --key-file F", "there is no home directory to look for it in");
        return;
    }
    check_mode(d, "key-file", "key file", path);
    if (cli_is_inside(d->c->vault_dir, path))
        doctor_say(d, DOCTOR_FAIL, "key-place", "move it out of the vault and give --key-file F",
                   "the key file is inside the vault: whoever takes the vault has the key");
    else if (stat(path, &key) == 0 && stat(d->c->vault_dir, &vault) == 0 && key.st_dev == vault.st_dev)
        doctor_say(d, DOCTOR_WARN, "key-place", "keep it on another medium, encrypt the disk, or use a passphrase",
                   "the key file is on the same file system as the vault: a stolen disk has both");
    else
        doctor_say(d, DOCTOR_OK, "key-place", NULL, "the key file is not on the vault's file system");
    free(path);
}

static void
check_passphrase_file(doctor *d)
{
    const char *path = d->c->passphrase.file;
    struct stat st;

    if (path != NULL && stat(path, &st) == 0 && S_ISREG(st.st_mode))
        check_mode(d, "passphrase-file", "passphrase file", path);
}

void
doctor_check_storage(doctor *d)
{
    check_mode(d, "permissions", "vault", d->c->vault_dir);
    check_file_system(d);
    check_writable(d);
    if (strcmp(d->c->facts.key_source, "key-file") == 0)
        check_key_file(d);
    check_passphrase_file(d);
}
