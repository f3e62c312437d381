/* SPDX-License-Identifier: MIT
 *
 * An intrusive doubly linked ring with a head: linking never allocates and never fails. */
#ifndef FETTLE_RUNTIME_LIST_H
#define FETTLE_RUNTIME_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct ftl__list {
    struct ftl__list *prev, *next;
};

#define ftl__container(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))

static inline void ftl__list_init(struct ftl__list *head)
{
    head->prev = head->next = head;
}

static inline bool ftl__list_is_empty(const struct ftl__list *head)
{
    return head->next == head;
}

/* A node that is in no list has NULL links: unlinking leaves it so. */
static inline bool ftl__list_is_linked(const struct ftl__list *node)
{
    return node->next != NULL;
}

static inline void ftl__list_push_back(struct ftl__list *head, struct ftl__list *node)
{
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}

static inline void ftl__list_push_front(struct ftl__list *head, struct ftl__list *node)
{
    ftl__list_push_back(head->next, node);
}

static inline void ftl__list_unlink(struct ftl__list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    node->prev = node->next = NULL;
}

/* NULL if empty. */
static inline struct ftl__list *ftl__list_pop_front(struct ftl__list *head)
{
    struct ftl__list *node = head->next;
    if (node == head)
        return NULL;
    ftl__list_unlink(node);
    return node;
}

/* Moves all of `from` to the end of `to`. */
static inline void ftl__list_splice(struct ftl__list *to, struct ftl__list *from)
{
    if (ftl__list_is_empty(from))
        return;
    from->next->prev = to->prev;
    from->prev->next = to;
    to->prev->next = from->next;
    to->prev = from->prev;
    ftl__list_init(from);
}

#endif
