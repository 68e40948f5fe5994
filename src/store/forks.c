/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which vaults were open when the process forked.
 *
 * SQLite keeps a process-wide account of file locks. A forked child inherits the account but not the kernel's locks, so
 * a database that the parent had open must not be opened by the child, not even anew: its commits could be lost. Such
 * an open is refused; after exec, or if the parent closes before it forks, there is no such account.
 */
#include "store/internal.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct pqe__fork_note {
    struct pqe__fork_note *next;
    dev_t device;
    ino_t inode;
    pid_t owner;
};

static pthread_mutex_t notes_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t notes_once = PTHREAD_ONCE_INIT;
static struct pqe__fork_note *notes;

static void
lock_notes(void)
{
    pthread_mutex_lock(&notes_lock);
}

static void
unlock_notes(void)
{
    pthread_mutex_unlock(&notes_lock);
}

static void
install_fork_handlers(void)
{
    pthread_atfork(lock_notes, unlock_notes, unlock_notes);
}

pqe_status
pqe__forks_note(pqe__store *store, pqe_error *err)
{
    struct pqe__fork_note *note;
    bool inherited = false;
    struct stat st;

    if (fstat(store->dir_fd, &st) != 0)
        return pqe__fail_errno(err, errno, "cannot open the vault's directory");
    if ((note = calloc(1, sizeof *note)) == NULL)
        return pqe__fail_nomem(err);
    *note = (struct pqe__fork_note){.device = st.st_dev, .inode = st.st_ino, .owner = getpid()};
    pthread_once(&notes_once, install_fork_handlers);
    lock_notes();
    for (const struct pqe__fork_note *n = notes; n != NULL; n = n->next)
        inherited = inherited || (n->device == note->device && n->inode == note->inode && n->owner != note->owner);
    if (!inherited) {
        note->next = notes;
        notes = note;
        store->note = note;
    }
    unlock_notes();
    if (!inherited)
        return PQE_OK;
    free(note);
    return pqe__fail(
        err, PQE_E_STATE, PQE_ORIGIN_API, 0,
        "the vault was open when this process was forked off; open it after exec, or close it before fork");
}

void
pqe__forks_forget(pqe__store *store)
{
    lock_notes();
    for (struct pqe__fork_note **link = &notes; *link != NULL && store->note != NULL; link = &(*link)->next) {
        if (*link == store->note) {
            *link = store->note->next;
            break;
        }
    }
    unlock_notes();
    free(store->note);
    store->note = NULL;
}
