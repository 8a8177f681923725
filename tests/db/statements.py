"""How many statements a transaction sends."""

import sqlalchemy as sa


def count_statements(database, work):
    ran = []

    def note(connection, cursor, statement, *rest):
        ran.append(statement)

    sa.event.listen(database.writer, "before_cursor_execute", note)
    database.write(work)
    sa.event.remove(database.writer, "before_cursor_execute", note)
    return len(ran)
